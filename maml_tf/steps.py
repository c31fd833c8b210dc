"""Runs of consecutive meta-steps: one compiled loop where tasks can be drawn on the device, else a step at a time."""

import contextlib
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

    def run(self, start, stop, every_seconds=0.2):
        """Does iterations start ... stop - 1.

        Yields:
            (iterations done, dict of arrays of the figures of each iteration since the last yield), every so often and
            at the end.
        """
        if self._next != start:
            self.close()
            self._batches = Prefetcher(self._draw, start, self._experiment.iterations)
        figures, shown = [], time.monotonic()
        for iteration in range(start, stop):
            pretraining = iteration < self._experiment.pretrain_iterations
            step = self._maml.pretrain_step if pretraining else self._maml.train_step
            figures.append(step(next(self._batches)))
            self._next = iteration + 1
            if iteration + 1 == stop or time.monotonic() - shown > every_seconds:
                yield iteration + 1, {name: np.array([f[name].numpy() for f in figures]) for name in figures[0]}
                figures, shown = [], time.monotonic()

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

    def __init__(self, maml, experiment, source):
        self._pretrain_iterations = experiment.pretrain_iterations

        def loop(step, start, count):
            def draw(i):
                return source.sample(experiment.seed, "train", i, experiment.meta_batch_size)

            def body(i, figures):
                new = step(draw(start + i))
                return i + 1, {name: figures[name].write(i, value) for name, value in new.items()}

            names = [f"{when}_{what}" for when in ("pre", "post") for what in maml.figure_kinds]
            names = names if step == maml.train_graph else names[: len(maml.figure_kinds)]
            arrays = {n: tf.TensorArray(maml.dtype, count, element_shape=[]) for n in names}
            _, arrays = tf.while_loop(lambda i, _: i < count, body, (tf.zeros_like(count), arrays))
            return {name: array.stack() for name, array in arrays.items()}

        self._loops = {
            step: maml.compiled(lambda start, count, step=step: loop(step, start, count))
            for step in (maml.pretrain_graph, maml.train_graph)
        }
        self._maml = maml

    def run(self, start, stop):
        """As in `HostSteps`, in one go."""
        maml = self._maml
        step = maml.pretrain_graph if start < self._pretrain_iterations else maml.train_graph
        figures = self._loops[step](tf.constant(start), tf.constant(stop - start))
        yield stop, {name: values.numpy() for name, values in figures.items()}

    def __exit__(self, *error):
        pass
