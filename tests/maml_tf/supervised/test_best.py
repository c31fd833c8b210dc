"""Tests of what best/ and `validation.csv` hold after a training, however often it was killed."""

import contextlib
import csv
import itertools

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs import best, checkpoints
from maml_tf.runs.best import BEST, KEPT
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build, training
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.training import VALIDATION, Schedule, rank
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs.stores import EXPERIMENT
from tests.maml_tf.small_runs import NEVER, assert_same_numbers
from tests.maml_tf.supervised.trainings import END, Killed, at_save, ctrl_c, kill

OFTEN = Schedule(summary=0, save=3, validate=1)


@pytest.fixture(autouse=True)
def _few_tasks(monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 30)


def rows(folder):
    with open(folder / VALIDATION, newline="") as file:
        return [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]


def expected(folder, kind):
    """Returns the best iterations according to the numbers in `validation.csv` alone."""
    sign = -1 if kind == "accuracy" else 1
    order = sorted(rows(folder), key=lambda row: (sign * row[f"{kind}_after"], row["iteration"]))
    return [int(row["iteration"]) for row in order[:KEPT]]


@pytest.fixture(scope="module")
def validated(runs, tmp_path_factory):
    """The folder of an uninterrupted run that validated after every iteration."""
    folder = tmp_path_factory.mktemp("validated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "EVALUATION_TASKS", 30)
        assert runs.training(folder, OFTEN).run()
    return folder


def test_best_are_the_best_of_all_validations(runs, validated, straight):
    kind = "accuracy" if runs.maml.accuracy else "loss"
    assert [row["iteration"] for row in rows(validated)] == list(range(1, END + 1))
    assert not any(row["diverged_after"] for row in rows(validated))
    assert best.best(validated, KEPT) == expected(validated, kind)
    assert available(validated / BEST) == sorted(expected(validated, kind))
    assert_same_numbers(validated / f"model{END}", straight)


def test_table_and_weights_are_those_of_the_iteration(runs, validated):
    iteration, kind = best.best(validated)[0], "accuracy" if runs.maml.accuracy else "loss"
    run = runs.training(validated)
    assert build.restore(runs.maml, runs.experiment(), validated, BEST) == (iteration, False)
    result = run.training.evaluate()
    (row,) = (row for row in rows(validated) if row["iteration"] == iteration)
    found = {
        f"{kind}_before": result.mean[0],
        f"{kind}_after": result.mean[-1],
        "ci95": result.ci95[-1],
        "median_after": result.median[-1],
        "diverged_after": 0,
    }
    assert row == {"iteration": iteration} | found


def same(folder, other):
    """Asserts that both folders have exactly the same best checkpoints and the same table."""
    assert (folder / VALIDATION).read_bytes() == (other / VALIDATION).read_bytes()
    assert available(folder / BEST) == available(other / BEST)
    for iteration in available(folder / BEST):
        assert_same_numbers(folder / BEST / f"model{iteration}", other / BEST / f"model{iteration}")


def at_offer(run, iteration, act, saved=False):
    """Makes the run call `act` after an iteration's validation; with `saved`, once best/ has a checkpoint too many."""
    keeper = run.training._best
    offer = keeper.offer

    def acting(now, now_rank):
        if now == iteration and saved:
            keeper._rank.assign(now_rank)
            keeper._store.save(now)
        if now == iteration:
            act()
        offer(now, now_rank)

    keeper.offer = acting
    return run


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_best(runs, validated, tmp_path):
    """The run saves at 3, 6 and the end; Ctrl-C makes it save at 4 too."""
    for interrupt, iteration, act, saved in (
        (at_offer, 2, kill, 0),
        (at_save, 3, kill, 0),
        (at_save, 3, ctrl_c, 3),
        (at_offer, 5, kill, 3),
        (at_offer, 4, ctrl_c, 4),
        (at_save, 6, kill, 4),
        (at_save, 6, ctrl_c, 6),  # the next start makes up for its validation
        (lambda *args: at_offer(*args, saved=True), 6, kill, 6),
        (at_save, END, kill, 6),
        (lambda *args: at_offer(*args, saved=True), END, kill, END),
    ):
        run = interrupt(runs.training(tmp_path, OFTEN), iteration, act)
        with pytest.raises(Killed) if act is kill else contextlib.nullcontext():
            assert not run.run()
        assert max(available(tmp_path), default=0) == saved
    assert runs.training(tmp_path, OFTEN).run()
    same(tmp_path, validated)


def test_the_end_is_validated_too_and_nothing_without_validations(sinusoids, tmp_path):
    sinusoids.training(tmp_path / "run", Schedule(summary=0, save=0, validate=5)).run()
    assert [row["iteration"] for row in rows(tmp_path / "run")] == [5, END]
    assert available(tmp_path / "run" / BEST) == [5, END]
    sinusoids.training(tmp_path / "never", NEVER).run()
    assert not (tmp_path / "never" / BEST).exists()
    assert not (tmp_path / "never" / VALIDATION).exists()


def test_what_a_killed_process_validated_is_forgotten(sinusoids, tmp_path, monkeypatch):
    number = itertools.count()
    monkeypatch.setattr(training, "rank", lambda evaluation: (0.0, -float(next(number))))  # the latest are the best
    with pytest.raises(Killed):
        at_save(sinusoids.training(tmp_path, OFTEN), END, kill).run()
    assert available(tmp_path)[-1] == 6
    assert available(tmp_path / BEST) == [3, 4, 5, 6, 7]
    sinusoids.training(tmp_path, Schedule(summary=0, save=0, validate=END)).run()
    assert [row["iteration"] for row in rows(tmp_path)] == [*range(1, 7), END]
    assert available(tmp_path / BEST) == [3, 4, 5, 6, END]


def test_a_run_that_is_not_resumed_takes_its_best_along(sinusoids, tmp_path):
    folder = tmp_path / "run"
    sinusoids.training(folder, OFTEN).run()
    before = snapshot(folder)
    sinusoids.training(folder, Schedule(summary=0, save=0, validate=4), metatrain=1).run(resume=False)
    assert available(folder / BEST) == [4]
    assert snapshot(tmp_path / "run.old1") == before


def test_losses_rank_from_the_lowest_and_by_the_median_where_tasks_diverge():
    def loss(*query):
        return rank(Evaluation("loss", np.ones(len(query)), np.column_stack([np.ones(len(query)), query])))

    assert loss(1.0, 3.0, 2.0) == (0.0, 2.0)
    assert loss(1.0, 1e9, 2.0) == (1.0, 2.0)
    assert loss(1.0, np.nan, np.nan) == (1.0, np.inf)
    ordered = [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.1, 0.1, 1e9), (0.2, 0.2, np.nan), (np.nan, np.nan, 0.1)]
    assert sorted(ordered[::-1], key=lambda query: loss(*query)) == ordered
    accuracies = [Evaluation("accuracy", np.ones(2), np.full([2, 2], value)) for value in (0.9, 0.5)]
    assert rank(accuracies[0]) < rank(accuracies[1])


def test_of_equally_good_ones_the_earlier_are_kept(tmp_path):
    keeper = best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 600)
    for iteration in range(1, 9):
        keeper.offer(iteration, (0.0, float(iteration % 2)))
    assert best.best(tmp_path, KEPT) == [2, 4, 6, 8, 1]


def test_weights_that_are_not_finite_are_not_among_the_best(sinusoids, tmp_path):
    run = sinusoids.training(tmp_path, Schedule(summary=0, save=0, validate=4))
    moment = sinusoids.maml.optimizer.variables[-1]
    at_evaluation(run, lambda: moment.assign(tf.fill(moment.shape, np.float32("nan"))))
    with pytest.raises(UserError, match="no longer finite"):
        run.run()
    assert not (tmp_path / BEST).exists()


def at_evaluation(run, act):
    """Makes the run call `act` after the evaluation of every validation."""
    evaluate = run.training.evaluate

    def acting(label=None):
        result = evaluate(label)
        if label:  # calls without a label only compile ahead
            act()
        return result

    run.training.evaluate = acting


def test_runs_without_best_checkpoints_and_damaged_ones_are_one_sentence(saved):
    _, folder, _ = saved
    with pytest.raises(UserError, match=r"there is no .*best, since .* resume it for more iterations, or name another"):
        best.locate(folder, BEST)
    with pytest.raises(UserError, match="train first, with the same settings"):
        best.locate(folder / "nothing", BEST)
    keeper = best.BestCheckpoints(folder, EXPERIMENT, {}, 600)
    keeper.offer(7, (0.0, 2.0))
    keeper.offer(9, (0.0, 1.0))
    assert best.locate(folder, BEST) == (folder / BEST, 9)
    assert best.locate(folder, 7) == (folder / BEST, 7)
    assert best.locate(folder, 5) == (folder, 5)
    assert best.locate(folder) == (folder, 10)
    with pytest.raises(UserError, match=r"holds 2 of the 3 checkpoints asked for: give --ensemble=2, or"):
        best.best(folder, 3)
    (folder / BEST / "model9.index").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"best/model9\.\* is damaged: remove it"):
        best.locate(folder, BEST)


def test_a_damaged_checkpoint_does_not_count_in_a_resumed_training(tmp_path, capsys):
    for iteration in (1, 2, 3):
        best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 600).offer(iteration, (0.0, 0.0))
    (tmp_path / BEST / "model2.data-00000-of-00001").write_bytes(b"")
    keeper = best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 600)
    keeper.begin(2)
    assert "best/model2 is damaged, and does not count among the best" in capsys.readouterr().out
    for iteration in (3, 4, 5, 6, 7):
        keeper.offer(iteration, (0.0, 0.0))
    assert available(tmp_path / BEST) == [1, 2, 3, 4, 5, 6]
    assert best.ranks(tmp_path).keys() == {1, 3, 4, 5, 6}


def test_a_full_disk_costs_best_only(tmp_path, monkeypatch, capsys):
    keeper = best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 600)
    keeper.offer(1, (0.0, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "flush", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        keeper.offer(2, (0.0, 0.5))
        keeper.offer(3, (0.0, 0.5))
    assert available(tmp_path / BEST) == [1]
    assert capsys.readouterr().err.count("training continues, and best/ keeps what it has") == 1
    keeper.offer(4, (0.0, 0.7))
    assert best.best(tmp_path, 2) == [4, 1]


def test_validations_on_other_tasks_are_refused_and_earlier_versions_are_not(tmp_path):
    best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 20).offer(1, (0.0, 0.1))
    best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 20).refuse_other_validations()
    with pytest.raises(UserError, match=r"on 20 tasks, .* on 600: give --validation_tasks=20, or remove"):
        best.BestCheckpoints(tmp_path, EXPERIMENT, {}, 600).refuse_other_validations()
    (tmp_path / "earlier").mkdir()
    rank = tf.Variable([0.0, 0.1], dtype=tf.float64)
    checkpoints.Checkpoints(tmp_path / "earlier" / BEST, EXPERIMENT, {"rank": rank}).save(1)
    best.BestCheckpoints(tmp_path / "earlier", EXPERIMENT, {}, 600).refuse_other_validations()


def test_a_run_resumes_with_other_validation_tasks_only_without_validating(runs, tmp_path):
    run = runs.training(tmp_path, Schedule(summary=0, save=2, validate=2, tasks=5))
    at_save(run, 4, ctrl_c)
    assert not run.run()
    other = Schedule(summary=0, save=2, validate=2, tasks=6)
    with pytest.raises(UserError, match="give --validation_tasks=5"):
        runs.training(tmp_path, other).run()
    assert runs.training(tmp_path, other._replace(validate=0)).run()
