"""Runs of consecutive meta-steps: one compiled loop where tasks can be drawn on the device, else a step at a time."""

import contextlib
import threading
import time

import numpy as np
import tensorflow as tf

from data_generators.prefetch import Prefetcher


def steps_for(maml, experiment, source):
    """The runner that fits a task source: `CompiledSteps` if its `sample` is TensorFlow, `HostSteps` otherwise."""
    kind = CompiledSteps if getattr(source, "samples_in_graph", False) else HostSteps
    return kind(maml, experiment, source)


class HostSteps(contextlib.AbstractContextManager):
    """One step at a time, while a thread draws the tasks of the next.

    Args:
        maml: MAML.
        experiment: Experiment.
        source: task source with `sample(seed, split, iteration, num_tasks)` of NumPy arrays.
    """

    def __init__(self, maml, experiment, source):
        self._maml = maml
        self._experiment = experiment
        self._draw = lambda i: source.sample(experiment.seed, "train", i, experiment.meta_batch_size)
        self._batches = None
        self._next = None
        self._cosine = None

    def run(self, start, stop, every_seconds=0.2):
        """Does iterations start ... stop - 1, all of pretraining or all of meta-training.

        Yields:
            (iterations done, dict of arrays of the figures of each iteration since the last yield), every so often and
            at the end.
        """
        if self._next != start:
            self.close()
            self._batches = Prefetcher(self._draw, start, self._experiment.iterations)
        step = self._maml.pretrain_step if start < self._experiment.pretrain_iterations else self._maml.train_step
        figures, shown = [], time.monotonic()
        for iteration in range(start, stop):
            figures.append(step(next(self._batches)))
            self._next = iteration + 1
            if iteration + 1 == stop or time.monotonic() - shown > every_seconds:
                yield iteration + 1, {name: np.array([f[name].numpy() for f in figures]) for name in figures[0]}
                figures, shown = [], time.monotonic()

    def compile_ahead(self, start, *others):
        """Does nothing: what is compiled here is compiled in a moment, and would only slow down the steps."""

    def curves(self, iteration, num_updates):
        """What `MAML.evaluate` says of the tasks of an iteration, by the weights as they are now."""
        return self._maml.evaluate(self._draw(iteration), num_updates)

    def gradient_cosine(self, iteration):
        """`gradient_cosine` on the tasks of an iteration, by the weights as they are now; a float."""
        if self._cosine is None:
            self._cosine = self._maml.compiler(lambda tasks: gradient_cosine(self._maml, tasks))
        return float(self._cosine(self._draw(iteration)))

    def close(self):
        """Ends the drawing thread."""
        if self._batches is not None:
            self._batches.close()
        self._batches = self._next = None

    def __exit__(self, *error):
        self.close()


class CompiledSteps(contextlib.AbstractContextManager):
    """Many steps in one compiled loop, which draws its tasks itself.

    The number of iterations is an input of the loop, so that the results do not depend on how many run per call.

    Args as in `HostSteps`, with a source of TensorFlow tensors.
    """

    LONGEST = 1000  # iterations in one call, for which the loop has room to note figures

    def __init__(self, maml, experiment, source):
        self._maml = maml
        self._pretrain_iterations = experiment.pretrain_iterations
        self._sample = lambda i: source.sample(experiment.seed, "train", i, experiment.meta_batch_size)
        self._pretrain = self._compiled_loop(maml.pretrain_step.graph, ("pre",))
        self._train = self._compiled_loop(maml.train_step.graph, ("pre", "post"))
        self._curves = {}
        self._cosine = None
        self._ahead, self._left = None, threading.Event()

    def compile_ahead(self, start, *others):
        """Compiles in another thread the loop that iteration `start` will need, and what is called in `others`.

        XLA takes seconds for each, which otherwise would come one after the other. Nothing that is called may change
        anything; an error is left to the call that needs the result.
        """

        def run():
            for function in (lambda: self._loop(start)(tf.constant(start), tf.constant(0)), *others):
                if not self._left.is_set():
                    with contextlib.suppress(Exception):
                        function()

        self._ahead = threading.Thread(target=run, name="compile ahead", daemon=True)
        self._ahead.start()

    def _loop(self, start):
        return self._pretrain if start < self._pretrain_iterations else self._train

    def _compiled_loop(self, step, moments):
        names = self._maml.learner.metric_names(*moments)

        def body(start, i, figures):
            new = step(self._sample(start + i))
            return i + 1, {name: figures[name].write(i, new[name]) for name in names}

        def loop(start, count):
            empty = {name: tf.TensorArray(self._maml.dtype, self.LONGEST, element_shape=[]) for name in names}
            _, figures = tf.while_loop(lambda i, _: i < count, lambda *args: body(start, *args), (0, empty))
            return {name: array.stack() for name, array in figures.items()}

        return self._maml.compiler(loop)

    def run(self, start, stop):
        """As in `HostSteps`; yields after every call of the loop."""
        loop = self._loop(start)
        while start < stop:
            count = min(stop - start, self.LONGEST)
            figures = loop(tf.constant(start), tf.constant(count))
            start += count
            yield start, {name: values.numpy()[:count] for name, values in figures.items()}

    def curves(self, iteration, num_updates):
        """As in `HostSteps`, the drawing of tasks compiled with it."""
        if num_updates not in self._curves:
            self._curves[num_updates] = self._maml.compiler(
                lambda i: self._maml.curves.graph(self._sample(i), num_updates=num_updates)
            )
        figures = self._curves[num_updates](tf.constant(iteration))
        return {name: value.numpy() for name, value in figures.items()}

    def gradient_cosine(self, iteration):
        """As in `HostSteps`, the drawing of tasks compiled with it."""
        if self._cosine is None:
            self._cosine = self._maml.compiler(lambda i: gradient_cosine(self._maml, self._sample(i)))
        return float(self._cosine(tf.constant(iteration)))

    def __exit__(self, *error):
        self._left.set()
        if self._ahead is not None:
            self._ahead.join()  # the process must not end in the midst of a compilation


def gradient_cosine(maml, tasks):
    """The cosine between the first- and the second-order meta-gradient of the initial weights, at the present weights.

    Both are means over the same tasks, before any clipping. Whether `maml` itself trains to first or second order makes
    no difference, and nothing of it changes. Learned step sizes are used, but are no part of the gradients.

    Args:
        maml: MAML.
        tasks: Tasks.

    Returns:
        A float64 scalar: 1 where second derivatives change nothing but the length; NaN where a gradient is zero.
    """
    first, second = (
        maml.meta_gradients.graph(tasks, first_order=first_order)[: len(maml.weights)] for first_order in (True, False)
    )
    return cosine(first, second)


def cosine(gradients, others):
    """The cosine of the angle between two lists of tensors, each taken as one long vector; a float64 scalar."""
    return _inner(gradients, others) / tf.sqrt(_inner(gradients, gradients) * _inner(others, others))


def _inner(tensors, others):
    # In float64, since it is the distance from 1 that tells, and rounding would hide it.
    pairs = zip(tensors, others, strict=True)
    return tf.add_n([tf.reduce_sum(tf.cast(a, tf.float64) * tf.cast(b, tf.float64)) for a, b in pairs])
