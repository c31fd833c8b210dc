import dataclasses

import numpy as np
import pytest

from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.report import report


def images(seed=0, updates=10):
    random = np.random.default_rng(seed)
    return Evaluation("accuracy", random.random(600), random.random([600, 1 + updates]))


def sinusoids(seed=0, updates=10):
    random = np.random.default_rng(seed)
    return Evaluation("loss", random.random(600), random.random([600, 1 + updates]))


def test_report_of_omniglot_has_ours_then_mamls_row_then_the_others():
    found = images()
    text = report(found, Experiment.of(datasource="omniglot"), "test")
    lines = text.splitlines()
    assert "600 test tasks" in lines[0]
    assert "step size 0.4" in lines[1]
    table = lines[next(i for i, line in enumerate(lines) if "table 1" in line) + 1 :]
    ours = f"{100 * found.mean[3]:.2f} +- {100 * found.ci95[3]:.2f}"
    assert table[0].split("  ")[0] == "ours, test split, 3 updates"
    assert table[0].endswith(ours)
    assert table[1].split() == ["MAML", "98.7", "+-", "0.4"]
    assert [line.split("  ")[0] for line in table[2:]] == [
        "MANN, no conv",
        "MAML, no conv",
        "Siamese nets",
        "Matching nets",
        "Neural statistician",
        "Memory mod.",
    ]
    assert "nan" not in text


def test_report_has_a_figure_after_every_update():
    found = images()
    lines = report(found, Experiment.of(datasource="omniglot"), "test").splitlines()
    for update in range(11):
        figure = f"{100 * found.mean[update]:.2f} +- {100 * found.ci95[update]:.2f}"
        assert f"{update:<10}  {figure}" in lines
    assert f"0, support  {100 * found.support_mean:.2f} +- {100 * found.support_ci95:.2f}" in lines


@pytest.mark.parametrize(
    ("settings", "update", "published"),
    [
        ({"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5}, 5, "98.9 +- 0.2"),
        ({"datasource": "miniimagenet"}, 10, "48.70 +- 1.84"),
        ({"datasource": "miniimagenet", "stop_grad": True}, 10, "48.07 +- 1.75"),
        ({"datasource": "omniglot", "conv": False, "update_batch_size": 5}, 3, "97.5 +- 0.6"),
    ],
)
def test_report_compares_after_the_published_number_of_updates(settings, update, published):
    lines = report(images(), Experiment.of(**settings), "test").splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("ours"))
    assert f"{update} updates" in lines[row]
    assert lines[row + 1].endswith(published)


def test_report_on_validation_tasks_says_that_the_published_figures_are_of_the_test_split():
    text = report(images(), Experiment.of(datasource="miniimagenet"), "val")
    assert "600 val tasks" in text
    assert "ours, val split" in text
    assert "MAML, test split" in text
    assert "test split" not in report(images(), Experiment.of(datasource="miniimagenet"), "test").split("MAML")[1]


def test_report_says_where_the_paper_has_no_figure():
    assert "no 7-way 1-shot results" in report(images(), Experiment.of(datasource="omniglot", num_classes=7), "test")
    text = report(images(), Experiment.of(datasource="omniglot", stop_grad=True), "test")
    assert "no result of MAML for these settings" in text
    assert "first order" in text


def test_report_of_fewer_updates_than_published_takes_the_last():
    text = report(images(updates=1), Experiment.of(datasource="omniglot"), "test")
    assert "ours, test split, 1 update " in text


def test_report_of_the_papers_sinusoid_has_the_figures_of_the_authors_code():
    lines = report(sinusoids(), Experiment.of(), "test").splitlines()
    update = {line.split("  ")[0]: line for line in lines}
    assert update["0, support"].split("  ")[-2:] == ["3.091 +- 0.251", "3.070 +- 0.245"]
    assert "0.384 +- 0.035" in update["1"]
    assert update["2"].endswith("0.219 +- 0.025  2.115")
    assert update["10"].endswith("0.113 +- 0.015  1.647 +- 0.148")
    assert "3.091" not in update["0"]
    assert "TensorFlow 1.2.1" in lines[-1]
    assert "table 1" not in "\n".join(lines)


def test_report_of_a_sinusoid_with_more_or_fewer_updates_than_the_original():
    assert "0.384" in report(sinusoids(updates=1), Experiment.of(), "test")
    assert "0.113" not in report(sinusoids(updates=1), Experiment.of(), "test")
    lines = report(sinusoids(updates=12), Experiment.of(num_updates=1), "val").splitlines()
    assert next(line for line in lines if line.startswith("12")).count("+-") == 1
    assert "test split" in lines[-1]


@pytest.mark.parametrize(
    "settings",
    [
        {"update_batch_size": 5},
        {"num_updates": 2},
        {"update_lr": 0.02},
        {"norm": "batch_norm"},
        {"stop_grad": True},
        {"learn_update_lr": True},
        {"baseline": "oracle"},
    ],
)
def test_report_of_another_sinusoid_stands_alone(settings):
    assert "original" not in report(sinusoids(), Experiment.of(**settings), "test")


def test_report_of_an_inductive_test_says_so():
    found = dataclasses.replace(images(), transductive=False)
    usual = report(images(), Experiment.of(datasource="omniglot"), "test")
    text = report(found, Experiment.of(datasource="omniglot"), "test")
    inductive = (
        "not transductive (inductive): queries are normalised by the statistics of the support, not by their own"
    )
    assert text.splitlines()[2] == inductive
    assert "ours, test split, 3 updates, not transductive" in text
    transductive = "transductive: queries are normalised by their own batch statistics, as in the paper"
    assert usual.splitlines()[2] == transductive
    assert "transductive" not in report(images(), Experiment.of(datasource="omniglot", norm="layer_norm"), "test")
    assert "transductive" not in report(sinusoids(), Experiment.of(), "test")
    text = report(found, Experiment.of(datasource="omniglot", norm="layer_norm"), "test")
    assert text.splitlines()[2] == "not transductive, which makes no difference without batch normalisation"


def test_report_of_a_test_with_another_step_size_says_so():
    found = sinusoids()
    text = report(Evaluation("loss", found.support, found.query, step_size=0.02), Experiment.of(), "test")
    assert "step size 0.02" in text
    assert "original" not in text


@pytest.mark.parametrize(
    ("mean", "shown"), [(0.1234567, "0.1235"), (3.09149, "3.091"), (1234.4, "1234 +-"), (2e-5, "2.000e-05")]
)
def test_losses_have_four_significant_digits(mean, shown):
    found = Evaluation("loss", np.full(3, mean), np.full([3, 2], mean))
    assert f"1           {shown}" in report(found, Experiment.of(update_batch_size=5), "test")


def test_nan_is_shown_as_such():
    query = np.full([600, 11], np.nan)
    query[:, 0] = 0.0024
    oracle = Evaluation("loss", np.full(600, 0.0025), query)
    experiment = Experiment.of(baseline="oracle", pretrain_iterations=9, metatrain_iterations=0)
    lines = report(oracle, experiment, "test").splitlines()
    assert [line.split() for line in lines if line.startswith("10")] == [["10", "nan", "+-", "nan", "inf", "600"]]
    assert "600 of 600 tasks diverged after 10 updates" in lines
    assert any(line.startswith("0 ") and "0.002400" in line for line in lines)
    assert "original" not in "\n".join(lines)


def test_report_says_in_words_what_tasks_that_diverge_do_to_the_mean():
    found = sinusoids()
    assert "diverged" not in report(found, Experiment.of(), "test")
    assert "median" not in report(found, Experiment.of(), "test")
    found.query[:3, 5:] = np.nan
    found.query[3, 5], found.query[4, 5] = 1000 * np.median(found.query[:, 0]) - 1, np.inf
    lines = report(found, Experiment.of(), "test").splitlines()
    kept = found.query[3:, 10]
    said = f"{kept.mean():.4f} +- {1.96 * kept.std() / np.sqrt(597):.5f}; the median of all is "
    assert lines[-4] == (
        f"3 of 600 tasks diverged after 10 updates; without them the mean is {said}{np.median(found.median[10]):.4f}"
    )
    assert lines[-3] == "diverged: their loss is not finite, or above 1000 times the median before any update"
    assert lines[-1].startswith("original: the authors' code")
    lines = report(found, Experiment.of(update_batch_size=5), "test").splitlines()
    rows = {line.split()[0]: line.split()[4:] for line in lines[4:16]}
    assert lines[3].split() == ["updates", "loss", "median", "diverged"]
    assert rows["1"] == [f"{found.median[1]:.4f}"]
    assert rows["5"] == [f"{found.median[5]:.4f}", "4"]


def test_report_of_accuracies_counts_tasks_whose_loss_diverges():
    found, losses = images(), np.ones([600, 11])
    losses[:2, 10] = np.inf
    lines = report(dataclasses.replace(found, losses=losses), Experiment.of(datasource="omniglot"), "test").splitlines()
    mean, ci95 = (f"{100 * value:.2f}" for value in dataclasses.replace(found, losses=losses).without_diverged(10))
    median = f"{100 * np.median(found.query[:, 10]):.2f}"
    said = f"2 of 600 tasks diverged after 10 updates; without them the mean is {mean} +- {ci95}; the median of all is "
    assert said + median in lines


def test_report_of_another_k_than_that_of_training_matches_no_row_of_maml():
    text = report(images(), Experiment.of(datasource="omniglot"), "test", shots=5)
    assert "K = 5, step size 0.4" in text
    assert "trained with K = 1" in text
    assert "5-way 5-shot omniglot" in text
    assert "no result of MAML for these settings" in text
    sinusoid = report(sinusoids(), Experiment.of(), "test", shots=5)
    assert "K = 5" in sinusoid
    assert "original" not in sinusoid
    assert report(images(), Experiment.of(), "test", shots=10) == report(images(), Experiment.of(), "test")
