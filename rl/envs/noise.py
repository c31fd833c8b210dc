"""Random numbers of the environments and the sampler: counter-based, so that no draw depends on an earlier one."""

import enum
from collections.abc import Sequence

import numpy as np


class Stream(enum.IntEnum):
    """The uses of random numbers; the streams of one seed are independent."""

    GOALS = 0
    RESETS = 1
    ACTIONS = 2
    TEST_GOALS = 3


def generator(seed: Sequence[int], stream: Stream, index: int = 0) -> np.random.Generator:
    """Makes a generator (Philox), always the same one for the same seed, stream and index."""
    key = np.random.SeedSequence([part % 2**64 for part in seed], spawn_key=(int(stream), index))
    return np.random.Generator(np.random.Philox(key))


def normal(
    seed: Sequence[int],
    stream: Stream,
    num_tasks: int,
    shape: tuple[int, ...],
    dtype: type = np.float64,
    first_task: int = 0,
) -> np.ndarray:
    """Draws standard normal numbers [num_tasks, *shape] for all trajectories of all tasks.

    Every task has its own generator, chosen by its index; the first index is `first_task`. The trajectories of a task
    are drawn in order. With shape (trajectories, ...), the numbers of a trajectory therefore do not depend on the
    number of tasks or trajectories.
    """
    numbers = np.empty((num_tasks, *shape), dtype)
    for task in range(num_tasks):
        generator(seed, stream, first_task + task).standard_normal(dtype=dtype, out=numbers[task])
    return numbers
