"""Tests with unusual numbers of queries, tasks and ways, or a zero head: numbers, files, reports and refusals."""

import pickle

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from maml_tf.networks import is_head
from maml_tf.supervised import build, commands
from maml_tf.supervised.build import load_run
from maml_tf.supervised.conditions import Conditions
from maml_tf.supervised.datasets import SINUSOID
from maml_tf.supervised.evaluation import Evaluation, evaluate
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.report import report
from tests.command import assert_refused
from tests.maml_tf.small_runs import training
from tests.maml_tf.supervised.blobs import NAME

SMALL = {"datasource": NAME, "conv": False, "num_updates": 1, "update_lr": 0.1}
QUICK = ("--log=False", "--validation_interval=0", "--jit=false", "--meta_batch_size=2", "--metatrain_iterations=2")
BLOBS = (*QUICK, *(f"--{name}={value}" for name, value in SMALL.items()), "--num_classes=3", "--logdir=runs")


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """The folder with a run on 2-way tasks and a run on 3-way tasks."""
    folder = tmp_path_factory.mktemp("runs")
    for ways in (2, 3):
        assert training(of_ways(ways), build.run_folder(of_ways(ways), folder), jit=False).run()
    return folder


def of_ways(ways):
    return Experiment.of(**SMALL, num_classes=ways, metatrain_iterations=2, meta_batch_size=2)


def restored(logdir, trained_ways, **conditions):
    return load_run(of_ways(trained_ways), logdir, jit=False, conditions=Conditions(**conditions))


def test_fewer_ways_are_the_first_logits_sliced_by_hand(logdir):
    run = restored(logdir, 3, ways=2)
    tasks = run.data.evaluation_tasks("test", 0, 3)
    assert tasks.query_y.shape == (3, 2, 2)
    found = run.maml.evaluate(tasks, 2)
    weights, trained = run.maml.pure.adapted, run.maml.model.get_weights()
    for task in range(3):
        run.maml.model.set_weights(trained)
        for updates in range(3):
            logits = run.maml.model(tasks.query_x[task], training=True).numpy()
            assert logits.shape == (2, 3)
            logits, labels = logits[:, :2], tasks.query_y[task]
            loss = -np.sum(labels * (logits - np.log(np.exp(logits).sum(1, keepdims=True))))  # K = 1
            np.testing.assert_allclose(found["losses"][task, updates], loss, rtol=1e-4)
            assert found["accuracies"][task, updates] == np.mean(logits.argmax(1) == labels.argmax(1))
            with tf.GradientTape() as tape:
                logits = run.maml.model(tasks.support_x[task], training=True)[:, :2]
                loss = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(tasks.support_y[task], logits))
            gradients = tape.gradient(
                loss, [v.value for v in weights], unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            for variable, gradient in zip(weights, gradients, strict=True):
                variable.assign(variable - 0.1 * gradient)
    assert np.abs(np.diff(found["losses"])).min() > 1e-3


@pytest.mark.parametrize(("trained_ways", "ways"), [(3, None), (3, 2), (2, 3)])
def test_zero_head_has_equal_logits_before_adaptation_and_every_other_weight_as_trained(logdir, trained_ways, ways):
    run, trained = restored(logdir, trained_ways, head="zero", ways=ways), restored(logdir, trained_ways)
    outputs = ways or trained_ways
    run.maml.model.get_layer("output").bias.assign(np.ones(outputs))
    run = run.at(None)  # as is done for the best checkpoint and members of an ensemble
    assert run.maml.model.output_shape == (None, outputs)
    assert any(np.any(v.numpy()) for v in trained.maml.weights if is_head(v))
    for variable, other in zip(run.maml.model.variables, trained.maml.model.variables, strict=True):
        np.testing.assert_array_equal(variable, np.zeros(variable.shape) if is_head(variable) else other)
    found = run.maml.evaluate(run.data.evaluation_tasks("val", 0, 3), 1)
    np.testing.assert_allclose(found["losses"][:, 0], outputs * np.log(outputs), rtol=1e-5)
    np.testing.assert_allclose(found["accuracies"][:, 0], 1 / outputs)
    assert np.abs(found["losses"][:, 1] - found["losses"][:, 0]).min() > 1e-3


def test_learned_step_sizes_are_kept_by_a_zero_head(tmp_path):
    experiment = Experiment.of(**SMALL, num_classes=2, metatrain_iterations=1, learn_update_lr=True, meta_lr=0.05)
    assert training(experiment, build.run_folder(experiment, tmp_path), jit=False).run()
    sizes, kept = (
        [size.numpy() for size in load_run(experiment, tmp_path, jit=False, conditions=conditions).maml.step_sizes]
        for conditions in (Conditions(), Conditions(head="zero", ways=3))
    )
    assert sizes == kept
    assert min(sizes) != max(sizes)


def test_network_without_an_output_layer_has_no_head_to_set(logdir, monkeypatch):
    monkeypatch.setattr(build, "is_head", lambda variable: False)
    with pytest.raises(UserError, match="the network has no layer `output` for --test_head=zero"):
        restored(logdir, 3, head="zero")


def test_queries_of_training_and_of_the_test():
    usual = Experiment.of(**SMALL)
    assert [usual.queries, Experiment.of(**SMALL, queries=7).queries] == [None, 7]
    assert Experiment.of(**SMALL, queries=7).name == f"{usual.name}.queries7"
    data = build.load(Experiment.of(**SMALL, num_classes=3, queries=7), conditions=Conditions(queries=4))
    for tasks in (data.source.sample(0, "train", 0, 2), data.validation_tasks(0, 2)):
        assert tasks.query_x.shape == (2, 21, 16, 16, 3)
    assert data.evaluation_tasks("test", 0, 2).query_x.shape == (2, 12, 16, 16, 3)
    assert data.evaluation_tasks("test", 0, 2).support_x.shape == (2, 3, 16, 16, 3)
    with pytest.raises(UserError, match=r"1 support and 30 query .* \(--update_batch_size, --test_queries\)"):
        build.load(Experiment.of(**SMALL, num_classes=3), conditions=Conditions(queries=30))
    with pytest.raises(UserError, match=r"1 support and 30 query .* \(--update_batch_size, --queries\)"):
        build.load(Experiment.of(**SMALL, num_classes=3, queries=30))


def test_queries_of_sinusoids():
    data = build.load(Experiment.of(queries=3), shots=4, conditions=Conditions(queries=6))
    assert data.source.sample(0, "train", 0, 2).query_x.shape == (2, 3, 1)
    assert data.validation_tasks(0, 2).query_x.shape == (2, 3, 1)
    for found, expected in zip(data.evaluation_tasks("test", 1, 2), Sinusoid(4, 6).test_tasks(3), strict=True):
        np.testing.assert_array_equal(found, expected[1:])


@pytest.mark.parametrize(
    "sizes",
    [
        ("--update_batch_size=15", "--queries=5", "--test_queries=5"),
        ("--train_update_batch_size=15", "--queries=5", "--update_batch_size=1", "--test_queries=1"),
        ("--preset=reptile", "--update_batch_size=1", "--queries=5"),  # trains with 15 shots
        ("--num_classes=5", "--test_ways=3"),  # the test split has 3 classes
    ],
)
def test_training_needs_no_more_data_than_itself_and_the_test_that_is_asked_for(run_main, tmp_path, sizes):
    result = run_main(*BLOBS, *sizes, "--norm=None", "--test_tasks=2")
    assert result.returncode == 0, result.stderr
    (table,) = (tmp_path / "runs").glob("*/test_*_tasks2.csv")
    assert len(metrics(table.with_suffix(".pkl"))) == 2


def test_a_training_has_its_own_shots_whatever_those_of_the_test():
    for settings, size in (({"update_batch_size": 3}, 3), (SMALL | {"num_classes": 2, "update_batch_size": 3}, 6)):
        experiment = Experiment.of(**settings)
        data = experiment.dataset.tasks_to_train(experiment, None, 4, **Conditions(queries=5).sizes)
        for tasks in (data.source.sample(0, "train", 0, 2), data.validation_tasks(0, 2)):
            assert (tasks.support_x.shape[1], tasks.query_x.shape[1]) == (size, size)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("settings", [{}, SMALL | {"num_classes": 2}])
def test_more_tasks_continue_the_list(settings, split):
    draw = build.load(Experiment.of(**settings)).evaluation_tasks
    for whole, start, end in zip(*(draw(split, *part) for part in ((590, 20), (590, 10), (600, 10))), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate([start, end]))
        assert not np.array_equal(start, end)


def metrics(path):
    return pickle.loads(path.read_bytes())["mses"]


@pytest.mark.slow
def test_files_and_report_of_a_test_say_how_it_departs(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 60)
    result = run_main(*BLOBS)
    assert result.returncode == 0, result.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    usual = metrics(folder / "test_ubs1_stepsize0.1.pkl")
    result = run_main(*BLOBS, "--train=False", "--test_tasks=30")
    assert "Accuracy in % on 30 test tasks" in result.stdout
    np.testing.assert_array_equal(metrics(folder / "test_ubs1_stepsize0.1_tasks30.pkl"), usual[:30])
    more = ("--test_ways=2", "--test_queries=5", "--test_tasks=10", "--test_set=False", "--transductive=False")
    result = run_main(*BLOBS, "--train=False", *more)
    name = "test_ubs1_stepsize0.1_queries5_ways2_tasks10_val_inductive"
    assert result.stdout.splitlines()[-1] == f"Written to {folder.relative_to(tmp_path)}/{name}.csv"
    assert metrics(folder / f"{name}.pkl").shape == (10, 11)
    assert "queries = 5, 2-way tasks, the first 2 of the 3 outputs\n" in result.stdout
    assert "The paper has no 2-way 1-shot results for blobs." in result.stdout
    result = run_main(
        *BLOBS, "--train=False", "--test_ways=3", "--test_queries=1", "--test_head=zero", "--test_tasks=10"
    )
    assert result.stdout.splitlines()[-1].endswith("/test_ubs1_stepsize0.1_zerohead_tasks10.csv")
    assert "the head starts at zero\n" in result.stdout
    np.testing.assert_array_equal(metrics(folder / "test_ubs1_stepsize0.1.pkl"), usual)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*BLOBS, "--test_ways=4"),
            "--test_ways=4 is more than the 3 outputs of the trained head: give --test_head=zero",
        ),
        (("--test_ways=2",), "the tasks of --datasource=sinusoid take no --test_ways: leave it out"),
        (
            ("--test_ways=20", "--test_head=zero"),
            "the tasks of --datasource=sinusoid take no --test_ways: leave it out",
        ),
        (("--test_ways=1",), "--test_ways must be at least 2, not 1"),
        (("--test_tasks=0",), "--test_tasks must be at least 1, not 0"),
        (("--queries=0",), "--queries must be at least 1, not 0"),
        (("--export_dir=x", "--test_queries=3"), "an export is no test: leave out --test_queries"),
        (("--export_dir=x", "--test_set=False"), "an export is no test: leave out --test_queries"),
        (
            ("--export_dir=x", "--update_lr=0.005", "--train_update_lr=0.02"),
            "an export adapts with the step size of training unless a request names another: give --update_lr=0.02, ",
        ),
        (("--export_dir=x", "--transductive"), "do not go together: --export_transductive is the flag of an export"),
        ((*BLOBS, "--test_queries=20"), "1 support and 20 query images per class need 21 images"),  # before training
    ],
)
def test_what_makes_no_sense_is_refused(run_main, tmp_path, arguments, message):
    assert_refused(run_main(*arguments), message)
    assert not list(tmp_path.iterdir())


def test_a_list_of_tasks_that_ends_before_the_test_does():
    tasks = Sinusoid(2).test_tasks(3)
    with pytest.raises(UserError, match=r"draw gave .* the data have fewer than --test_tasks"):
        evaluate(None, lambda first, count: tasks, num_tasks=4)


def test_report_beside_the_paper_s_result_for_the_ways_of_the_test():
    found = Evaluation("accuracy", np.ones(600), np.ones([600, 11]))
    experiment = Experiment.of(datasource="omniglot", num_classes=20)
    text = report(found, experiment, "test", conditions=Conditions(ways=5))
    assert "5-way 1-shot omniglot, table 1 of the paper:" in text
    assert "The paper has no result of MAML for these settings." in text
    text = report(found, experiment, "test", conditions=Conditions(head="zero"))
    assert "The paper has no result of MAML for these settings." in text
    assert report(found, experiment, "test", conditions=Conditions()) == report(found, experiment, "test")


def test_report_of_other_queries_is_not_beside_the_authors_sinusoid():
    found = Evaluation("loss", np.ones(600), np.ones([600, 11]))
    assert "original MAML" in report(found, Experiment.of(), "val")
    assert "original MAML" in report(found, Experiment.of(), "val", conditions=Conditions(split="val"))
    assert "original MAML" in report(found, Experiment.of(), "test", conditions=Conditions().at(900, latest=1000))
    assert "original MAML" not in report(found, Experiment.of(), "test", conditions=Conditions(queries=5))
    assert "original MAML" not in report(found, Experiment.of(queries=5), "test")
    assert SINUSOID.original()
