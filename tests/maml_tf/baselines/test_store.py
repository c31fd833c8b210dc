"""Damaged files of the baselines: results are computed again, and a classifier is refused with one sentence."""

import dataclasses
import json
import random

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.baselines.comparison import KeptEvaluations
from maml_tf.baselines.training import EARLIER, iterations_done
from maml_tf.runs.checkpoints import available
from maml_tf.supervised.evaluation import Evaluation
from tests.maml_tf.small_runs import assert_same_numbers

OTHER_KINDS = (None, True, 5, "x", [], [1, 2], {}, {"x": 1}, float("nan"))


def flips(whole, count, first=0):
    """Yields copies of the contents, each with one random bit flipped at or after position `first`."""
    chance = random.Random(0)
    for _ in range(count):
        damaged = bytearray(whole)
        damaged[chance.randrange(first, len(whole))] ^= 1 << chance.randrange(8)
        yield bytes(damaged)


def write_earlier(run, folder, iteration):
    """Writes the file that earlier versions wrote at an iteration; returns its path."""
    arrays = {f"variable{i}": v.numpy() for i, v in enumerate(run.variables())}
    arrays |= {f"best{i}": v.numpy() for i, v in enumerate(run._best)}
    progress = {"iteration": iteration, "accuracy": run.accuracy, "best_iteration": run.best_iteration, "seconds": 1.5}
    texts = {"settings": dataclasses.asdict(run.settings), "progress": progress}
    folder.mkdir(exist_ok=True)
    np.savez(folder / EARLIER, **arrays, **{name: np.array(json.dumps(value)) for name, value in texts.items()})
    return folder / EARLIER


@pytest.fixture
def saved(trainings, tmp_path):
    """(refused, contents, path) of a valid classifier.npz.

    refused(contents) writes contents to the file and returns the message of the error, or None if there is none.
    """
    run = trainings.training(tmp_path, 0)
    path = write_earlier(run, tmp_path, 0)

    def refused(contents):
        path.write_bytes(contents)
        for read in (run._take_over, lambda: iterations_done(tmp_path)):
            try:
                read()
            except UserError as error:
                return str(error)
        return None

    return refused, path.read_bytes(), path


def test_a_training_of_an_earlier_version_is_resumed_with_the_same_numbers(trainings, tmp_path):
    straight = trainings.training(tmp_path / "straight", 10)
    assert straight.run()
    path = write_earlier(straight, tmp_path / "finished", 10)
    begun = trainings.training(tmp_path / "begun", 8)
    assert begun.run()
    write_earlier(begun, tmp_path / "earlier", 8)
    resumed = trainings.training(tmp_path / "earlier", 10)
    assert resumed.run()
    assert available(tmp_path / "earlier") == [8, 10]
    assert_same_numbers(tmp_path / "earlier" / "model10", tmp_path / "straight" / "model10")
    finished = trainings.training(tmp_path / "finished", 10)
    assert finished.run()
    assert finished.use_best_weights() == straight.use_best_weights() == resumed.use_best_weights()
    assert list((tmp_path / "finished").iterdir()) == [path]
    assert [iterations_done(tmp_path / name) for name in ("finished", "earlier", "nowhere")] == [10, 10, 0]


def test_a_training_of_an_earlier_version_with_other_settings_is_refused(trainings, tmp_path):
    path = write_earlier(trainings.training(tmp_path / "x", 5), tmp_path / "earlier", 5)
    other = dataclasses.replace(trainings.settings, seed=3)
    with pytest.raises(UserError, match=r"classifier.npz was made with --seed=0 \(now 3\): give the same flags"):
        trainings.training(tmp_path / "earlier", 9, other).run()
    assert list((tmp_path / "earlier").iterdir()) == [path]


def test_no_flipped_bit_in_the_classifier_is_a_traceback(saved):
    refused, whole, _ = saved
    directory = whole.find(b"PK\x01\x02")
    said = [refused(damaged) for damaged in (*flips(whole, 20), *flips(whole, 60, directory))]
    assert sum(sentence is not None for sentence in said) > 30  # some bytes of a zip's directory have no effect
    assert not any("\n" in sentence for sentence in said if sentence)
    assert refused(whole) is None


@pytest.mark.parametrize("name", ["settings", "progress", "variable0", "best0"])
def test_classifier_that_holds_something_else_is_refused(saved, name):
    refused, _, path = saved
    with np.load(path) as arrays:
        arrays = dict(arrays)
    others = [np.array(json.dumps(kind)) for kind in OTHER_KINDS] + [np.zeros((2, 2)), np.array("{" * 5000)]
    if name == "progress":
        right = {"iteration": 5, "accuracy": 0.5, "best_iteration": 4}
        wrong = {"iteration": "5"}, {"iteration": -3}, {"iteration": 1.5}, {"best_iteration": 7}, {"accuracy": None}
        others += [np.array(json.dumps(right | made)) for made in wrong]
    for other in others:
        np.savez(path, **(arrays | {name: other}))
        message = refused(path.read_bytes())
        assert "is damaged or cannot be read" in message or "was made with" in message


QUERY = np.random.default_rng(0).random((5, 3))
FOUND = Evaluation("accuracy", QUERY[:, 0], QUERY, losses=QUERY + 1)


def remembered(path):
    """Returns whether the results in the file were used; asserts that the results are right in any case."""
    computed = []
    found = KeptEvaluations(path, "weights").remember("a", lambda: computed.append(1) or FOUND)
    np.testing.assert_array_equal(found.query, QUERY)
    np.testing.assert_array_equal(found.losses, QUERY + 1)
    np.testing.assert_array_equal(found.support, QUERY[:, 0])
    return not computed


def test_figures_that_are_damaged_are_computed_anew(tmp_path):
    path = tmp_path / "figures.json"
    assert not remembered(path)
    assert remembered(path)
    whole = path.read_bytes()
    kept = 0
    for damaged in flips(whole, 300):
        path.write_bytes(damaged)
        kept += remembered(path)
    # A flip in the key "checksum" goes unnoticed, since the files of earlier versions have no checksum.
    assert kept < 30
    made = json.loads(whole)
    for kind in OTHER_KINDS:
        figures = [
            kind,
            {"a": kind},
            {"a": {"support": kind, "query": kind}},
            {"a": {"support": [1], "query": [[kind]]}},
        ]
        for other in [kind, *({"classifier": "weights", "figures": figure} for figure in figures[:-1])]:
            path.write_text(json.dumps(other))
            assert not remembered(path)
        path.write_text(json.dumps(made | {"checksum": kind}))
        assert not remembered(path)


def test_figures_of_earlier_versions_are_kept(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({"classifier": "weights", "figures": {"a": {"support": [0.5], "query": [[0.25]]}}}))
    found = KeptEvaluations(path, "weights").remember("a", None)
    assert (found.support, found.query, found.losses) == (0.5, 0.25, None)


def test_figures_that_another_process_has_computed_meanwhile_are_kept(tmp_path):
    path = tmp_path / "figures.json"
    mine, theirs = KeptEvaluations(path, "weights"), KeptEvaluations(path, "weights")

    def compute():
        theirs.remember("b", lambda: FOUND)
        return FOUND

    mine.remember("a", compute)
    again = KeptEvaluations(path, "weights")
    for key in ("a", "b"):
        np.testing.assert_array_equal(again.remember(key, None).query, QUERY)
