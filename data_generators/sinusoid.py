"""Sinusoid regression tasks (Finn et al. 2017, section 5.1; the original's generate_sinusoid_batch)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from data_generators import streams
from data_generators.errors import UserError
from data_generators.tasks import Tasks

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUT = (-5.0, 5.0)

_TEST_SEED = 1  # the original calls np.random.seed(1) before it draws its test tasks
_SPLITS = ("train", "val", "test")


class Sinusoid:
    """Tasks y = A sin(x - phase) with A ~ U(0.1, 5), phase ~ U(0, pi) and x ~ U(-5, 5).

    Args:
        num_support: points per task to adapt on, K in the paper.
        num_query: points per task to evaluate on; by default as many as num_support.
        oracle: whether to give the learner the task, by inputs (x, A, phase) instead of x alone.

    Raises:
        UserError: num_support or num_query is less than 1.

    Example:
        >>> tasks = Sinusoid(num_support=10).sample(seed=0, split="train", iteration=0, num_tasks=25)
        >>> tasks.support_x.shape
        TensorShape([25, 10, 1])
    """

    in_graph = True  # `sample` may be called inside a compiled loop
    dataset, sequence = streams.dataset, streams.sequence

    def __init__(self, num_support: int, num_query: int | None = None, oracle: bool = False):
        num_query = num_support if num_query is None else num_query
        if num_support < 1 or num_query < 1:
            raise UserError(
                f"A sinusoid task needs at least 1 support and 1 query point, not {num_support}, {num_query}."
            )
        self.num_support = num_support
        self.num_query = num_query
        self.oracle = oracle

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (1,), or (3,) for the oracle."""
        return (3,) if self.oracle else (1,)

    @property
    def output_size(self) -> int:
        """Number of values that a model predicts per input."""
        return 1

    def sample(
        self, seed: Any, split: str, iteration: Any, num_tasks: int, part: tuple[int, int] | None = None
    ) -> Tasks:
        """Draws the meta-batch that belongs to (seed, split, iteration): same arguments, same tasks.

        Pure TensorFlow, so it may be called eagerly or inside tf.function, tf.while_loop and XLA (under XLA the last
        digit of a number may be rounded differently).

        Args:
            seed: integer or integer tensor, the seed of the run.
            split: "train", "val" or "test".
            iteration: integer or integer tensor, the index of the meta-batch.
            num_tasks: integer, the number of tasks in the meta-batch.
            part: (first, size), a share of the meta-batch; default: all of it.

        Returns:
            Tasks of float32 tensors: inputs [num_tasks, points, 1 or 3], targets [num_tasks, points, 1].
        """
        if split not in _SPLITS:
            raise UserError(f"there is no split {split!r}: the splits are train, val and test")
        stream = tf.cast(seed, tf.int64) * len(_SPLITS) + _SPLITS.index(split)
        key = tf.stack([stream, tf.cast(iteration, tf.int64)])
        points = self.num_support + self.num_query
        # One call for all numbers of the meta-batch, because this runs in a compiled loop of less than 1 ms per step.
        # Integers, because XLA makes other random floats than TensorFlow's own kernels, but the same random integers.
        bits = tf.random.stateless_uniform([num_tasks, points + 2, 1], key, None, None, tf.int32, alg="philox")
        if part is not None:
            first, size = part
            bits = bits[first : first + size]
        bits = tf.cast(bits, tf.float32)
        amplitude = _uniform(bits[:, :1], AMPLITUDE)
        phase = _uniform(bits[:, 1:2], PHASE)
        x = _uniform(bits[:, 2:], INPUT)
        y = amplitude * tf.sin(x - phase)
        if self.oracle:
            x = tf.concat([x, tf.broadcast_to(amplitude, x.shape), tf.broadcast_to(phase, x.shape)], axis=-1)
        return self._tasks(x, y)

    def test_tasks(self, num_tasks: int = 600) -> Tasks:
        """Draws the original's own test tasks: NumPy's legacy generator from seed 1, one task at a time.

        Per task the amplitude is drawn first, then the phase, then x for all support and query points.

        Args:
            num_tasks: number of tasks; fewer than 600 are the first of the original's 600.

        Returns:
            Tasks of float32 arrays: inputs [num_tasks, points, 1 or 3], targets [num_tasks, points, 1].
        """
        random = np.random.RandomState(_TEST_SEED)
        points = self.num_support + self.num_query
        x = np.empty([num_tasks, points, 1])
        amplitude, phase = np.empty([2, num_tasks, 1, 1])
        for task in range(num_tasks):
            amplitude[task] = random.uniform(*AMPLITUDE)
            phase[task] = random.uniform(*PHASE)
            x[task] = random.uniform(*INPUT, [points, 1])
        y = amplitude * np.sin(x - phase)
        if self.oracle:
            x = np.concatenate([x, np.broadcast_to(amplitude, x.shape), np.broadcast_to(phase, x.shape)], axis=-1)
        return self._tasks(x.astype(np.float32), y.astype(np.float32))

    def _tasks(self, x, y) -> Tasks:
        support = self.num_support
        return Tasks(x[:, :support], y[:, :support], x[:, support:], y[:, support:])


def _uniform(bits: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    """Maps random 32-bit integers, as float32, from [-2**31, 2**31] onto bounds."""
    low, high = bounds
    return (low + high) / 2 + bits * ((high - low) / 2**32)
