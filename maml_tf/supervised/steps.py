"""Runs consecutive meta-steps: in one compiled loop if tasks can be drawn on the device, else one step at a time."""

import bisect
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data_generators.prefetch import Prefetcher
from data_generators.tasks import Tasks, TaskSource, part_of
from maml_tf.maml import MAML
from maml_tf.supervised.experiment import Experiment

Metrics = dict[str, np.ndarray]
TOGETHER = 5  # several workers ask each other after so many iterations whether to stop


def steps_for(maml: MAML, experiment: Experiment, source: TaskSource) -> "HostSteps | CompiledSteps":
    """Returns the runner for a task source: `CompiledSteps` if its `sample` is TensorFlow, `HostSteps` otherwise."""
    return (CompiledSteps if source.in_graph else HostSteps)(maml, experiment, source)


class HostSteps(contextlib.AbstractContextManager):
    """Runs one step at a time, while a thread draws the tasks of the next steps and copies them to the device.

    Args:
        maml: MAML.
        experiment: Experiment.
        source: TaskSource of NumPy arrays.
    """

    def __init__(self, maml: MAML, experiment: Experiment, source: TaskSource):
        self._maml = maml
        self._experiment = experiment
        draw = _share_of(maml, experiment, source)
        self._draw = lambda iteration: tf.nest.map_structure(tf.convert_to_tensor, draw(iteration))
        self._batches: Prefetcher[Tasks] | None = None
        self._next: int | None = None
        self._measures = {}
        self._to_trace = False
        self._ahead: threading.Thread | None = None

    def run(self, start: int, stop: int, every_seconds: float = 0.2) -> Iterator[tuple[int, Metrics]]:
        """Runs iterations start ... stop - 1, which must be of one phase.

        Yields:
            (iterations done, arrays of the metrics of each iteration since the last yield), about every `every_seconds`
            seconds (with several workers, every TOGETHER iterations) and at the end.
        """
        if self._next != start:
            self.close()
            self._batches = Prefetcher(self._draw, start, self._experiment.iterations)
        self._end_ahead()
        method, told = step_at(self._maml, self._experiment, start)
        step = functools.partial(method, **told)
        metrics, shown = [], time.monotonic()
        together = self._maml.workers.count > 1  # then not by time: the workers' clocks differ
        for iteration in range(start, stop):
            metrics.append(step(next(self._batches)))
            self._next = iteration + 1
            due = len(metrics) == TOGETHER if together else time.monotonic() - shown > every_seconds
            if iteration + 1 == stop or due:
                yield iteration + 1, {name: np.array([m[name].numpy() for m in metrics]) for name in metrics[0]}
                metrics, shown = [], time.monotonic()

    def compile_ahead(self, start: int, *others: Callable[[], Any]) -> None:
        """Makes the first `measure` also trace the step of its iteration; ignores `others`, which compile quickly.

        Does nothing with several workers, since their sums are numbered in the order in which they are traced.
        """
        self._to_trace = self._maml.workers.count == 1

    def measure(self, function: Callable[[Tasks], Any], iteration: int) -> Any:
        """Applies a function to the tasks of an iteration, with the current weights.

        Args:
            function: function of Tasks of tensors that returns a structure of tensors; it is compiled once.
            iteration: the iteration whose tasks are used.

        Returns:
            The structure, with arrays instead of tensors.
        """
        tasks = self._draw(iteration)
        if function not in self._measures:
            self._end_ahead()  # one thread traces at a time
            self._measures[function] = self._maml.compiler(function)
            self._measures[function].get_concrete_function(tasks)  # traces it
            self._trace_ahead(iteration, tasks)
        return tf.nest.map_structure(lambda t: t.numpy(), self._measures[function](tasks))

    def _trace_ahead(self, iteration, tasks):
        """Traces the step in another thread while TensorFlow does something else; leaves errors to the step itself."""
        if not self._to_trace:
            return
        self._to_trace = False
        method, told = step_at(self._maml, self._experiment, iteration)

        def trace():
            with contextlib.suppress(Exception):
                method.trace(tasks, **told)

        self._ahead = threading.Thread(target=trace, name="trace ahead", daemon=True)
        self._ahead.start()

    def _end_ahead(self):
        if self._ahead is not None:
            self._ahead.join()

    def close(self) -> None:
        """Ends the drawing thread."""
        if self._batches is not None:
            self._batches.close()
        self._batches = self._next = None

    def __exit__(self, *error):
        self._end_ahead()  # the process must not end during a tracing
        self.close()


class CompiledSteps(contextlib.AbstractContextManager):
    """Runs many steps in one compiled loop, which also draws the tasks.

    The number of iterations is an input of the loop, so that the results do not depend on how many run per call.

    Args as in `HostSteps`, but with a source of TensorFlow tensors.
    """

    LONGEST = 1000  # maximum of iterations in one call; the loop has room for the metrics of so many

    def __init__(self, maml: MAML, experiment: Experiment, source: TaskSource):
        self._maml = maml
        self._experiment = experiment
        self._sample = _share_of(maml, experiment, source)
        self._loops = {}
        self._measures = {}
        self._ahead: threading.Thread | None = None
        self._left = threading.Event()

    def compile_ahead(self, start: int, *others: Callable[[], Any]) -> None:
        """Calls, and so compiles, in another thread the loop that iteration `start` will need, and each of `others`.

        XLA takes seconds for each, for which the training would otherwise wait one after the other. The functions must
        not change any state. An error is ignored here, since it occurs again in the call that needs the result. Does
        nothing with several workers, since the functions contain sums over workers.
        """
        if self._maml.workers.count > 1:
            return

        def run():
            for function in (lambda: self._loop(start)(tf.constant(start), tf.constant(0)), *others):
                if not self._left.is_set():
                    with contextlib.suppress(Exception):
                        function()

        self._ahead = threading.Thread(target=run, name="compile ahead", daemon=True)
        self._ahead.start()

    def _loop(self, start):
        phase = bisect.bisect(phase_ends(self._experiment), start)
        if phase not in self._loops:
            self._loops.setdefault(phase, self._compiled_loop(start))  # the thread that compiles ahead may be here, too
        return self._loops[phase]

    def _compiled_loop(self, start):
        method, told = step_at(self._maml, self._experiment, start)
        step = functools.partial(method.graph, **told)
        moments = ("pre",) if start < self._experiment.pretrain_iterations else ("pre", "post")
        names = self._maml.learner.metric_names(*moments)

        def body(start, i, metrics):
            new = step(self._sample(start + i))
            return i + 1, {name: metrics[name].write(i, new[name]) for name in names}

        def loop(start, count):
            empty = {name: tf.TensorArray(self._maml.dtype, self.LONGEST, element_shape=[]) for name in names}
            _, metrics = tf.while_loop(lambda i, _: i < count, lambda *args: body(start, *args), (0, empty))
            return {name: array.stack() for name, array in metrics.items()}

        return self._maml.compiler(loop)

    def run(self, start: int, stop: int) -> Iterator[tuple[int, Metrics]]:
        """As in `HostSteps`; yields after every call of the loop."""
        loop = self._loop(start)
        while start < stop:
            count = min(stop - start, self.LONGEST)
            metrics = loop(tf.constant(start), tf.constant(count))
            start += count
            yield start, {name: values.numpy()[:count] for name, values in metrics.items()}

    def measure(self, function: Callable[[Tasks], Any], iteration: int) -> Any:
        """As in `HostSteps`, but also compiles the drawing of tasks; without XLA, which would delay the first step."""
        if function not in self._measures:
            self._measures[function] = self._maml.compiler(lambda i: function(self._sample(i)), jit=False)
        return tf.nest.map_structure(lambda t: t.numpy(), self._measures[function](tf.constant(iteration)))

    def __exit__(self, *error):
        self._left.set()
        if self._ahead is not None:
            self._ahead.join()  # the process must not end during a compilation


def phase_ends(experiment: Experiment) -> list[int]:
    """The iterations at which a phase ends: pretraining, and each phase of meta-training (see `Experiment.phases`)."""
    pretrain = experiment.pretrain_iterations
    return [pretrain] * (pretrain > 0) + [end for end, _ in experiment.phases]


def _share_of(maml, experiment, source):
    """Returns a function: iteration -> this worker's share of the iteration's meta-batch."""
    what, batch = (experiment.seed, "train"), experiment.meta_batch_size
    if maml.workers.count == 1:
        return lambda iteration: source.sample(*what, iteration, batch)
    share = maml.workers.share(batch)
    return lambda iteration: part_of(source, *what, iteration, batch, share)


def step_at(maml: MAML, experiment: Experiment, iteration: int) -> tuple[Any, dict[str, Any]]:
    """Returns the method of `maml` that does the step of an iteration, and its keyword arguments."""
    first, _ = maml.workers.share(experiment.meta_batch_size)
    own = {"first": first} if first else {}
    if iteration < experiment.pretrain_iterations:
        return maml.pretrain_step, own
    return maml.train_step, own | next(told for end, told in experiment.phases if iteration < end)


def gradient_cosine(maml: MAML, tasks: Tasks, last: bool = False, first: int = 0) -> tf.Tensor:
    """The cosine between the first- and the second-order meta-gradient of the initial weights, at the current weights.

    Both gradients are means over the same tasks, before any clipping. It makes no difference whether `maml` itself
    trains to first or second order, and `maml` does not change. Learned step sizes are used, but the gradients do not
    include them.

    Args:
        maml: MAML.
        tasks: Tasks.
        last, first: as for `MAML.train_step`.

    Returns:
        A float64 scalar: 1 if second derivatives change only the length of the gradient; NaN if a gradient is zero.
    """
    gradients = functools.partial(maml.meta_gradients.graph, tasks, last=last, first=first)
    return cosine(*(gradients(first_order=order)[: len(maml.weights)] for order in (True, False)))


def cosine(gradients: list[tf.Tensor], others: list[tf.Tensor]) -> tf.Tensor:
    """The cosine of the angle between two lists of tensors, each taken as one long vector; a float64 scalar."""
    return _inner(gradients, others) / tf.sqrt(_inner(gradients, gradients) * _inner(others, others))


def _inner(tensors, others):
    # In float64, since the cosine's distance from 1 matters, and rounding in float32 would hide it.
    pairs = zip(tensors, others, strict=True)
    return tf.add_n([tf.reduce_sum(tf.cast(a, tf.float64) * tf.cast(b, tf.float64)) for a, b in pairs])
