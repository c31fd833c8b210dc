import functools
import itertools
import threading
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.distribution import ALONE
from maml_tf.supervised import build
from maml_tf.supervised.steps import CompiledSteps, HostSteps, steps_for
from tests.maml_tf.small_runs import IMAGES, SINUSOID, small, use_small_omniglot

EXPERIMENT = small(SINUSOID, 6, pretrain_iterations=4)


class Recorder:
    """Stands in for MAML: its tasks are one number, which is also the loss; it records its steps and functions."""

    workers = ALONE

    def __init__(self):
        self.steps, self.functions = [], []

    def compiler(self, function, jit=True):
        self.functions.append(function)
        function.get_concrete_function = lambda tasks: None
        return function

    def train_step(self, tasks):
        return self._step("train", tasks)

    def pretrain_step(self, tasks):
        return self._step("pretrain", tasks)

    def _step(self, kind, tasks):
        self.steps.append((kind, int(tasks)))
        return {"pre_loss": np.float32(tasks)}


class Counting:
    """A task source whose meta-batch is the number of the iteration."""

    in_graph = False

    def __init__(self):
        self.drawn = []

    def sample(self, seed, split, iteration, num_tasks):
        self.drawn.append((seed, split, iteration, num_tasks))
        return np.int64(iteration)


class Numpy(np.float32):
    """A metric with a `numpy` method, as TensorFlow's tensors have."""

    def numpy(self):
        return np.float32(self)


@pytest.fixture
def recorder(monkeypatch):
    maml = Recorder()
    step = maml._step
    monkeypatch.setattr(maml, "_step", lambda *args: {name: Numpy(value) for name, value in step(*args).items()})
    return maml


def variables(maml):
    return [*maml.model.variables, *maml.optimizer.variables, *maml.pretrain_optimizer.variables]


def run_in_pieces(steps, ends):
    """Runs up to each of `ends`; returns the metrics of every iteration."""
    calls = [call for begin, end in itertools.pairwise([0, *ends]) for call in steps.run(begin, end)]
    assert calls[-1][0] == ends[-1]
    metrics = [new for _, new in calls]
    return {name: np.concatenate([f[name] for f in metrics if name in f]) for name in ("pre_loss", "post_loss")}


def test_runner_fits_the_source(monkeypatch, tmp_path, recorder):
    use_small_omniglot(monkeypatch, tmp_path)
    images = small(IMAGES, 3)
    assert isinstance(steps_for(recorder, images, build.load(images, None).source), HostSteps)
    source = build.load(EXPERIMENT).source
    assert isinstance(steps_for(build.build(EXPERIMENT, source), EXPERIMENT, source), CompiledSteps)


@pytest.mark.parametrize("jit", [True, False])
def test_compiled_loop_does_not_depend_on_the_iterations_per_call(jit, monkeypatch):
    source = build.load(EXPERIMENT).source
    maml = build.build(EXPERIMENT, source, jit=jit)
    initial = [variable.numpy() for variable in variables(maml)]
    with CompiledSteps(maml, EXPERIMENT, source) as steps:
        metrics = run_in_pieces(steps, [4, 10])
        assert len(metrics["pre_loss"]) == 10
        assert len(metrics["post_loss"]) == 6
        final = [variable.numpy() for variable in variables(maml)]
        for variable, value in zip(variables(maml), initial, strict=True):
            variable.assign(value)
        monkeypatch.setattr(CompiledSteps, "LONGEST", 2)
        for name, values in run_in_pieces(steps, [1, 4, 5, 10]).items():
            np.testing.assert_array_equal(values, metrics[name])
    for variable, value in zip(variables(maml), final, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert not np.array_equal(final[0], initial[0])


def test_compiled_loop_does_what_single_steps_do():
    source = build.load(EXPERIMENT).source
    both = []
    for kind in (CompiledSteps, HostSteps):
        maml = build.build(EXPERIMENT, source, jit=False)
        with kind(maml, EXPERIMENT, source) as steps:
            both.append((run_in_pieces(steps, [4, 10]), [variable.numpy() for variable in variables(maml)]))
    (metrics, final), (expected_metrics, expected_final) = both
    for name in metrics:
        np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-5)
    for value, expected in zip(final, expected_final, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("jit", [True, False])
def test_compiling_ahead_changes_nothing_and_leaves_nothing_to_trace(jit):
    source = build.load(EXPERIMENT).source
    maml = build.build(EXPERIMENT, source, jit=jit)
    initial = [variable.numpy() for variable in variables(maml)]
    called = []

    def fails():
        called.append("fails")
        raise ValueError("left to the call that needs the result")

    with CompiledSteps(maml, EXPERIMENT, source) as steps:
        steps.compile_ahead(0, fails, lambda: called.append("the next"))
        steps._ahead.join()
    assert called == ["fails", "the next"]
    assert not any(thread.name == "compile ahead" for thread in threading.enumerate())
    for variable, value in zip(variables(maml), initial, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert [loop.experimental_get_tracing_count() for loop in steps._loops.values()] == [1]  # pretraining's loop
    list(steps.run(0, 2))
    assert [loop.experimental_get_tracing_count() for loop in steps._loops.values()] == [1]


def test_leaving_waits_for_the_compilation_at_hand_only():
    source = build.load(EXPERIMENT).source
    begun, finished = threading.Event(), []

    def long():
        begun.set()
        time.sleep(0.2)
        finished.append("long")

    with CompiledSteps(build.build(EXPERIMENT, source, jit=False), EXPERIMENT, source) as steps:
        steps.compile_ahead(0, long, lambda: finished.append("the next"))
        assert begun.wait(60)
    assert finished == ["long"]


def test_host_steps_draw_and_report_every_iteration_in_order(recorder):
    source = Counting()
    with HostSteps(recorder, EXPERIMENT, source) as steps:
        pretraining = list(steps.run(0, 4, every_seconds=1e9))
        training = list(steps.run(4, 9, every_seconds=0))
    assert recorder.steps == [("pretrain", i) for i in range(4)] + [("train", i) for i in range(4, 9)]
    assert [done for done, _ in pretraining] == [4]
    np.testing.assert_array_equal(pretraining[0][1]["pre_loss"], [0, 1, 2, 3])
    assert [(done, *metrics["pre_loss"]) for done, metrics in training] == [(i + 1, i) for i in range(4, 9)]
    assert source.drawn[:9] == [(0, "train", i, 2) for i in range(9)]
    assert all(iteration < EXPERIMENT.iterations for _, _, iteration, _ in source.drawn)


def test_host_steps_begin_anywhere_and_end_their_thread(recorder):
    before = threading.active_count()
    with HostSteps(recorder, EXPERIMENT, Counting()) as steps:
        list(steps.run(6, 8))
        list(steps.run(5, 7))  # begins before the end of the last call
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert [iteration for _, iteration in recorder.steps] == [6, 7, 5, 6]


def test_measures_are_of_the_tasks_of_that_iteration_and_compiled_once(recorder):
    def twice(tasks):
        return {"twice": 2 * tasks}

    steps = HostSteps(recorder, EXPERIMENT, Counting())
    assert [steps.measure(twice, iteration) for iteration in (7, 3)] == [{"twice": 14}, {"twice": 6}]
    assert recorder.functions == [twice]


def test_the_step_is_traced_once_while_a_measure_runs_and_changes_nothing_until_it_is_called():
    source = build.load(EXPERIMENT).source
    maml = build.build(EXPERIMENT, source, jit=False)
    initial, traced = [variable.numpy() for variable in variables(maml)], []

    def noted(step, tasks):
        traced.append(threading.current_thread().name)
        return step(tasks)

    maml.pretrain_step.graph = functools.partial(noted, maml.pretrain_step.graph)
    with HostSteps(maml, EXPERIMENT, source) as steps:
        steps.compile_ahead(0)
        steps.measure(lambda tasks: tasks.query_y, 0)
        steps._ahead.join()
        assert traced == ["trace ahead"]
        for variable, value in zip(variables(maml), initial, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        metrics = [new for _, new in steps.run(0, 2)]
        steps.measure(lambda tasks: tasks.query_x, 2)
        metrics += [new for _, new in steps.run(2, 4)]
    assert traced == ["trace ahead"]
    other = build.build(EXPERIMENT, source, jit=False)
    with HostSteps(other, EXPERIMENT, source) as steps:
        expected = [new for _, new in steps.run(0, 4)]
    both = [np.concatenate([new["pre_loss"] for new in news]) for news in (metrics, expected)]
    np.testing.assert_array_equal(*both)
    for variable, value in zip(variables(maml), variables(other), strict=True):
        np.testing.assert_array_equal(variable.numpy(), value.numpy())


def test_an_error_of_tracing_ahead_is_left_to_the_step():
    source = build.load(EXPERIMENT).source
    maml = build.build(EXPERIMENT, source, jit=False)

    def fails(tasks):
        raise UserError("of the step")

    maml.pretrain_step.graph = fails
    with HostSteps(maml, EXPERIMENT, source) as steps:
        steps.compile_ahead(0)
        steps.measure(lambda tasks: tasks.query_y, 0)
        with pytest.raises(UserError, match="of the step"):
            list(steps.run(0, 2))
    assert not any(thread.name == "trace ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("workers", [1, 2])
def test_no_step_is_traced_ahead_unasked_or_by_several_workers(workers, monkeypatch, recorder):
    monkeypatch.setattr(Recorder, "workers", types.SimpleNamespace(count=workers, share=lambda batch: (0, batch)))
    steps = HostSteps(recorder, EXPERIMENT, Counting())
    steps._draw = tf.constant
    if workers == 2:
        steps.compile_ahead(0)
    steps.measure(lambda tasks: {"twice": 2 * tasks}, 0)
    assert steps._ahead is None


def test_compiled_measures_are_of_the_tasks_of_that_iteration():
    source = build.load(EXPERIMENT).source
    with CompiledSteps(build.build(EXPERIMENT, source, jit=False), EXPERIMENT, source) as steps:
        for iteration in (7, 3):
            found = steps.measure(lambda tasks: tasks.query_y, iteration)
            np.testing.assert_array_equal(found, source.sample(EXPERIMENT.seed, "train", iteration, 2).query_y)
