"""Damage of the baselines' files, of any kind: figures are computed anew, a classifier is refused by one sentence."""

import json
import random

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.baselines.comparison import Figures
from maml_tf.baselines.training import progress_of
from maml_tf.supervised.evaluation import Evaluation

OTHER_KINDS = (None, True, 5, "x", [], [1, 2], {}, {"x": 1}, float("nan"))


def flips(whole, count, first=0):
    """The contents with one bit flipped, somewhere from a position on."""
    chance = random.Random(0)
    for _ in range(count):
        damaged = bytearray(whole)
        damaged[chance.randrange(first, len(whole))] ^= 1 << chance.randrange(8)
        yield bytes(damaged)


@pytest.fixture
def saved(trainings, tmp_path):
    """refused(contents) is how a classifier.npz of these contents is refused, None if it is not; and whole contents."""
    run = trainings.training(tmp_path)
    run._save()

    def refused(contents):
        run.path.write_bytes(contents)
        for read in (run._restore, lambda: progress_of(tmp_path)):
            try:
                read()
            except UserError as error:
                return str(error)
        return None

    return refused, run.path.read_bytes(), run.path


def test_no_flipped_bit_in_the_classifier_is_a_traceback(saved):
    refused, whole, _ = saved
    directory = whole.find(b"PK\x01\x02")
    said = [refused(damaged) for damaged in (*flips(whole, 20), *flips(whole, 60, directory))]
    assert sum(sentence is not None for sentence in said) > 30  # not all of a zip's directory counts
    assert not any("\n" in sentence for sentence in said if sentence)
    assert refused(whole) is None


@pytest.mark.parametrize("name", ["settings", "progress", "variable0", "best0"])
def test_classifier_that_holds_something_else_is_refused(saved, name):
    refused, _, path = saved
    with np.load(path) as arrays:
        arrays = dict(arrays)
    others = [np.array(json.dumps(kind)) for kind in OTHER_KINDS] + [np.zeros((2, 2)), np.array("{" * 5000)]
    if name == "progress":
        wrong = {"iteration": "5"}, {"iteration": -3}, {"iteration": 1.5}, {"best_iteration": 7}, {"seconds": None}
        others = [np.array(json.dumps(made)) for made in wrong] + [o for o in others if str(o) != "{}"]
    for other in others:
        np.savez(path, **(arrays | {name: other}))
        message = refused(path.read_bytes())
        assert "is damaged or cannot be read" in message or "was made with" in message


QUERY = np.random.default_rng(0).random((5, 3))
FOUND = Evaluation("accuracy", QUERY[:, 0], QUERY, losses=QUERY + 1)


def remembered(path):
    """Whether figures were kept; whatever is there, the right ones come back."""
    computed = []
    found = Figures(path, "weights").remember("a", lambda: computed.append(1) or FOUND)
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
    assert kept < 30  # those in the name of the checksum, without which files of earlier versions come
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
    found = Figures(path, "weights").remember("a", None)
    assert (found.support, found.query, found.losses) == (0.5, 0.25, None)


def test_figures_that_another_process_has_computed_meanwhile_are_kept(tmp_path):
    path = tmp_path / "figures.json"
    mine, theirs = Figures(path, "weights"), Figures(path, "weights")

    def compute():
        theirs.remember("b", lambda: FOUND)
        return FOUND

    mine.remember("a", compute)
    again = Figures(path, "weights")
    for key in ("a", "b"):
        np.testing.assert_array_equal(again.remember(key, None).query, QUERY)
