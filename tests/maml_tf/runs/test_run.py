"""Tests of the training loop with a training that counts: events, saving, stopping, resuming, non-finite numbers."""

import contextlib
import dataclasses
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs import loop
from maml_tf.runs.checkpoints import Checkpoints, available
from maml_tf.runs.loop import Event
from maml_tf.runs.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class Counting(Settings):
    iterations: int = setting("to count", least=0)
    step: int = setting("that is added", before=1)

    @classmethod
    def usual(cls, given):
        return {"iterations": 10, "step": 1}


class Counter:
    """A training that adds `step` to a sum in every iteration, in calls of up to four iterations."""

    save_every, remedy = 4, "count slower"

    def __init__(self, folder, signals=(), spoilt=None, keep=10, **settings):
        self.settings = Counting.of(**settings)
        self.end = self.settings.iterations
        self.sum = tf.Variable(0.0)
        self.store = Checkpoints(folder, self.settings, {"sum": self.sum}, keep=keep)
        self.story = []
        self.events = [
            Event(5, self._note("before"), before=True),
            Event(0, self._note("never")),
            Event(3, self._after),
        ]
        self._signals, self._spoilt = dict(signals), spoilt

    def _note(self, what):
        return lambda iteration: self.story.append((what, iteration))

    def _after(self, iteration):
        self.story.append(("after", iteration, max(available(self.store.folder), default=0)))

    @contextlib.contextmanager
    def opened(self, iteration):
        self.story.append(("opened", iteration))
        yield
        self.story.append(("closed",))

    def advance(self, start, stop):
        for done in range(start + 1, stop + 1):
            self.sum.assign_add(np.nan if done == self._spoilt else self.settings.step)
            if done in self._signals:
                os.kill(os.getpid(), self._signals[done])
            yield done, {"sum": self.sum.numpy()}

    def variables(self):
        return [self.sum]

    def status(self, metrics):
        return f"sum {metrics['sum']:.0f}"

    def run(self, **given):
        return loop.run(self, self.store, **given)


def test_events_come_in_their_order(tmp_path):
    counter = Counter(tmp_path)
    assert counter.run()
    saved_before = {3: 0, 6: 4, 9: 8}
    assert counter.story == [
        ("opened", 0),
        ("before", 0),
        ("after", 3, saved_before[3]),
        ("before", 5),
        ("after", 6, saved_before[6]),
        ("after", 9, saved_before[9]),
        ("closed",),
    ]
    assert available(tmp_path) == [4, 8, 10]
    assert counter.sum.numpy() == 10


def test_an_event_comes_once_the_iteration_is_saved(tmp_path):
    counter = Counter(tmp_path, iterations=12)
    counter.run()
    assert ("after", 12, 12) in counter.story


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_saves_and_the_same_run_resumes(tmp_path, capfd, number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert not Counter(tmp_path, {6: number}).run()
    finally:
        signal.signal(signal.SIGINT, before)
    out, err = capfd.readouterr()
    assert out == "Stopped after 6 of 10 iterations, which are saved. Run the same command again to resume.\n"
    assert "Stopping after this step and saving" in err
    assert available(tmp_path) == [4, 6]
    resumed = Counter(tmp_path)
    assert resumed.run()
    assert resumed.story[0] == ("opened", 6)
    assert resumed.sum.numpy() == 10
    assert capfd.readouterr().out == "Resuming from the checkpoint of iteration 6\n"
    assert Counter(tmp_path).run()  # nothing is left to do


def test_without_resume_an_earlier_run_is_put_aside(tmp_path, capfd):
    folder = tmp_path / "run"
    Counter(folder).run()
    anew = Counter(folder, {2: signal.SIGTERM})
    assert not anew.run(resume=False)
    assert anew.sum.numpy() == 2
    assert available(tmp_path / "run.old1") == [4, 8, 10]
    assert "Run the same command again, without --resume=False, to resume." in capfd.readouterr().out


def test_numbers_that_are_not_finite_are_not_saved(tmp_path):
    with pytest.raises(UserError, match="no longer finite at iteration 8: training stops"):
        Counter(tmp_path, spoilt=6).run()
    assert available(tmp_path) == [4]


def test_other_settings_are_refused_and_another_duration_is_not(tmp_path):
    Counter(tmp_path).run()
    longer = Counter(tmp_path, iterations=15)
    assert longer.run()
    assert longer.sum.numpy() == 15
    with pytest.raises(UserError, match=r"made with --step=1 \(now 2\): give the same flags or, for a new run"):
        Counter(tmp_path, step=2).run()
    Counter(tmp_path, iterations=20).run()  # the refused run has released the folder


def test_without_an_interval_the_end_is_saved(tmp_path):
    counter = Counter(tmp_path)
    counter.save_every = 0
    counter.run()
    assert available(tmp_path) == [10]
