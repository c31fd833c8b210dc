"""What ends a training early: a loss that is not finite, Ctrl-C, a folder that cannot be written."""

import os
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf.runs.boundary import ONE_REQUEST
from maml_tf.runs.checkpoints import available
from maml_tf.supervised.training import Schedule
from tests.maml_tf.small_runs import assert_same_numbers
from tests.maml_tf.supervised.trainings import END, EVERY, at_save, ctrl_c


class Spoilt:
    """A task source whose query targets are NaN from a given iteration on."""

    def __init__(self, source, iteration):
        self._source, self._iteration = source, iteration
        self.in_graph = source.in_graph

    def sample(self, seed, split, iteration, num_tasks):
        tasks = self._source.sample(seed, split, iteration, num_tasks)
        spoil = tf.where(tf.constant(self._iteration) <= iteration, np.float32("nan"), np.float32(0))
        return Tasks(tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y + spoil)


def test_loss_that_is_not_finite_stops_at_its_iteration(runs, straight, tmp_path):
    schedule = Schedule(summary=0, save=2, validate=0)
    with pytest.raises(UserError, match="no longer finite at iteration 5: training stops"):
        runs.training(tmp_path, schedule, source=Spoilt(runs.data.source, 5)).run()
    assert available(tmp_path) == [2, 4]
    runs.training(tmp_path).run()  # the kept checkpoint is good
    assert_same_numbers(tmp_path / f"model{END}", straight)


@pytest.mark.parametrize("spoilt", ["optimizer", "pretrain_optimizer"])
def test_state_that_is_not_finite_is_not_saved(sinusoids, tmp_path, spoilt):
    run = sinusoids.training(tmp_path, EVERY)
    variables, moment = run.training.variables, getattr(sinusoids.maml, spoilt).variables[-1]

    def spoiling():
        if available(tmp_path)[-1:] == [3]:
            moment.assign(tf.fill(moment.shape, np.float32("inf")))
        return variables()

    run.training.variables = spoiling
    with pytest.raises(UserError, match="no longer finite at iteration 4: training stops"):
        run.run()
    assert available(tmp_path) == [1, 2, 3]


@pytest.fixture
def _heeds_ctrl_c():
    """Sets the handler of a foreground program: a program that a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_second_ctrl_c_stops_at_once(sinusoids, tmp_path, capfd):
    def twice():
        ctrl_c()
        time.sleep(1.1 * ONE_REQUEST)
        ctrl_c()

    run = at_save(sinusoids.training(tmp_path, EVERY), 2, twice)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert available(tmp_path) == [1]
    assert capfd.readouterr().err.count("a second Ctrl-C stops at once") == 1


@pytest.mark.parametrize("numbers", [[signal.SIGINT] * 3, [signal.SIGTERM] * 2, [signal.SIGINT, signal.SIGTERM]])
def test_what_comes_twice_at_once_is_one_request(sinusoids, tmp_path, capfd, numbers):
    """`timeout` sends a signal twice, and so may the end of a launcher that has threads."""

    def repeated():
        for number in numbers:
            signal.raise_signal(number)

    assert not at_save(sinusoids.training(tmp_path, EVERY), 2, repeated).run()
    assert available(tmp_path) == [1, 2]
    assert capfd.readouterr().err.count("a second Ctrl-C stops at once") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_mean_what_they_did_after_training(sinusoids, tmp_path, number):
    def mine(*_):
        pass

    before = signal.signal(number, mine)
    try:
        assert not at_save(sinusoids.training(tmp_path, EVERY), 1, lambda: os.kill(os.getpid(), number)).run()
        assert available(tmp_path) == [1]
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


def test_ctrl_c_at_the_last_iteration_does_not_begin_the_test(sinusoids, tmp_path):
    assert not at_save(sinusoids.training(tmp_path, EVERY), END, ctrl_c).run()
    assert available(tmp_path)[-1] == END


def test_folder_that_cannot_be_written(sinusoids, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"cannot write to .*file.*: choose another --logdir"):
            sinusoids.training(folder).run()
    assert (tmp_path / "file").read_text() == "mine"
