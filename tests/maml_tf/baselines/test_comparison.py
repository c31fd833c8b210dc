"""Tests of both baselines on a data set: the tasks, the choice of settings, and the results that are kept."""

import json

import numpy as np
import pytest

from data_generators.episodes import EVALUATION_SEED, Episodes
from data_generators.errors import UserError
from maml_tf.baselines import comparison, report
from maml_tf.baselines.comparison import CHOICE, FINE_TUNING, NEAREST_NEIGHBOR, TEST, VAL, Comparison, Grid, Outcome
from maml_tf.baselines.learners import Choice, StepSizes
from maml_tf.supervised import evaluation
from maml_tf.supervised.evaluation import Evaluation
from tests.data_generators.synthetic_classes import splits

GRID = Grid((0.5, 0.01), (0.0,), 2, 3)


def compare(given=None, ways=2, shots=1, queries=2):
    return Comparison(given or splits(), ways, shots, queries)


def test_classes_of_choice_and_report_are_disjoint_halves_of_validation():
    parts = compare()._episodes.splits
    assert set(parts) == {CHOICE, VAL, TEST}
    assert not set(parts[CHOICE].names) & set(parts[VAL].names)
    assert sorted(parts[CHOICE].names + parts[VAL].names) == sorted(splits()["val"].names)


def test_test_tasks_are_those_of_the_test_of_main():
    found = compare().draw(TEST)(3, 2)
    expected = Episodes(splits(), 2, 1, 2).episodes(EVALUATION_SEED, "test", 3, 2)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="module")
def outcomes(trained, tmp_path_factory):
    """The outcomes of a run, and the folder where they are kept."""
    folder = tmp_path_factory.mktemp("figures")
    return compare().run(trained.maml, "weights", GRID, folder, num_tasks=5), folder


def test_every_baseline_on_every_split(outcomes):
    found, _ = outcomes
    expected = [(baseline, split) for baseline in (NEAREST_NEIGHBOR, FINE_TUNING) for split in (VAL, TEST)]
    assert [(o.baseline, o.split) for o in found] == expected
    assert [o.evaluation.num_tasks for o in found] == [5] * 4
    assert [o.num_classes for o in found] == [3, 3, 3, 3]
    choice = found[-1].choice
    assert [o.evaluation.num_updates for o in found] == [0, 0, choice.num_updates, choice.num_updates]
    assert 0.5 <= found[0].evaluation.mean[-1] <= 1


def test_settings_are_chosen_on_the_first_half_alone(outcomes):
    found, folder = outcomes
    kept = json.loads((folder / "figures.json").read_text())["figures"]
    by_tasks = {key: np.mean(value["query"], 0) for key, value in kept.items() if "3 tasks of choice" in key}
    assert len(by_tasks) == 2
    best = max(means[1:].max() for means in by_tasks.values())
    assert found[-1].choice.accuracy == pytest.approx(best)


@pytest.fixture
def calls(monkeypatch):
    """The labels of the requested evaluations. To save time, each evaluation returns made-up accuracies."""
    labels = []

    def evaluate(learner, draw, num_tasks, num_updates, step_size, label, workers):
        labels.append(label)
        return Evaluation("accuracy", np.ones(num_tasks), np.full((num_tasks, 1 + num_updates), 0.25))

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    return labels


def test_what_was_computed_is_not_computed_again(outcomes, trained, calls):
    found, folder = outcomes
    second = compare().run(trained.maml, "weights", GRID, folder, num_tasks=5)
    assert calls == []
    for mine, theirs in zip(second, found, strict=True):
        assert mine.choice == theirs.choice
        np.testing.assert_array_equal(mine.evaluation.query, theirs.evaluation.query)
    wider = GRID._replace(step_sizes=(0.5, 0.01, 0.001))
    compare().run(trained.maml, "weights", wider, folder, num_tasks=5)
    assert calls[0] == "choice: fine-tuning, step size 0.001, decay 0.0"
    calls.clear()
    compare().run(trained.maml, "other weights", GRID, folder, num_tasks=5)
    assert len(calls) == 6


def test_damaged_figures_are_computed_again(trained, calls, tmp_path):
    (tmp_path / "figures.json").write_text("{")
    compare().run(trained.maml, "weights", GRID, tmp_path, num_tasks=5)
    assert len(calls) == 6
    compare().run(trained.maml, "weights", GRID, tmp_path, num_tasks=5)
    assert len(calls) == 6


def test_without_test_classes_validation_is_reported_alone():
    given = splits()
    del given["test"]
    assert compare(given).reported == [VAL]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ways": 4}, "4-way tasks on each half of the validation classes need 8 of them, but there are 6"),
        ({"ways": 0}, "--num_classes must be at least 1, not 0"),
        ({"shots": 0}, "--shots must be at least 1, not 0"),
        ({"queries": -1}, "--queries must be at least 1, not -1"),
        ({"shots": 19}, r"need 21 images, but 9 classes have fewer: .* or use fewer shots or queries"),
        ({"given": {"train": splits()["train"]}}, "the baselines need validation classes"),
    ],
)
def test_too_few_classes_or_images(change, message):
    with pytest.raises(UserError, match=message):
        compare(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_sizes": ()}, "--step_sizes must be positive numbers"),
        ({"step_sizes": (0.1, 0.0)}, "--step_sizes must be positive numbers"),
        ({"decays": (-1.0,)}, "--decays must be numbers that are not negative"),
        ({"num_updates": 0}, "--num_updates must be at least 1, not 0"),
        ({"num_tasks": 0}, "--tuning_tasks must be at least 1, not 0"),
    ],
)
def test_grid_out_of_range(change, message):
    with pytest.raises(UserError, match=message):
        GRID._replace(**change).validate()


def outcome(baseline, split, accuracies, choice=None):
    query = np.array(accuracies)[:, None] * np.ones(3 if choice else 1)
    return Outcome(baseline, split, 8, Evaluation("accuracy", np.ones(len(query)), query), choice)


CHOSEN = Choice(StepSizes(0.01, 0.1), 2, 0.5)
OUTCOMES = [outcome(NEAREST_NEIGHBOR, VAL, [0.4, 0.6]), outcome(FINE_TUNING, TEST, [0.2, 0.2], CHOSEN)]


def test_report_has_ours_and_the_published_figures_with_their_splits():
    text = report.report(OUTCOMES, "miniimagenet", 5, 1, "trained so")
    lines = text.splitlines()
    assert lines[0] == "5-way 1-shot miniimagenet: accuracy in % on 2 tasks, +- 95 % confidence interval"
    assert "trained so" in lines
    assert "step size 0.01, decay 0.1, updates 2; chosen on the first half of the validation classes (50.00" in text
    rows = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
    assert rows["Nearest neighbor baseline, ours, second half of val (8 classes)"] == "50.00 +- 13.86"
    assert rows["Fine-tuning baseline, ours, test split (8 classes)"] == "20.00 +- 0.00"
    assert rows["Nearest neighbor baseline, published, test split"] == "41.08 +- 0.70"
    assert rows["Fine-tuning baseline, published, test split"] == "28.86 +- 0.54"
    assert "The paper has no 3-way" in report.report(OUTCOMES, "miniimagenet", 3, 1, "")


def test_rows_of_the_csv():
    first, second = report.csv_rows(OUTCOMES, "miniimagenet", 5, 5, 30)
    assert first.keys() == second.keys()
    assert (first["accuracy"], first["split"], first["published"], first["step_size"]) == (50, "val", 51.04, None)
    assert (second["step_size"], second["decay"], second["updates"], second["published_ci95"]) == (0.01, 0.1, 2, 0.79)
    assert report.csv_rows(OUTCOMES, "omniglot", 5, 1, 30)[0]["published"] is None
    assert comparison.EVALUATION_TASKS == 600
