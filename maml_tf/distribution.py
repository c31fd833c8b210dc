"""Processes that share the tasks of every meta-batch: the share of each, and means over all of them.

All processes run the same program in lockstep. Each has its own copy of the variables; equal gradients and equal
updates keep the copies equal. tf.distribute connects the processes, sums over them, and detects when one is gone.
Nothing else is distributed, so a single process runs as it would without this module.

The rule for all code that uses `Workers`: all processes must call whatever contains a sum in the same order. This order
may depend only on numbers of iterations and on values that have been summed over the processes; never on a clock, a
file or a thread of one process.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_generators.errors import UserError

LOST = 75  # the exit code (EX_TEMPFAIL of sysexits.h) after which the same command may be tried again


class WorkerLost(UserError):
    """Another process has died, or cannot be reached."""

    exit_code = LOST


class WorkerEnded(UserError):
    """Another process has ended with an error; this one ends with the same exit code.

    Args:
        code: exit code of the other process.
    """

    def __init__(self, code: int):
        interrupted = "another worker was interrupted"
        super().__init__(interrupted if code == 130 else "another worker has ended with an error: see its output")
        self.exit_code = code


class Alone:
    """The only process, which has all tasks.

    index: index of this process, from 0.
    count: number of processes.

    Example:
        >>> ALONE.share(32)
        (0, 32)
        >>> ALONE.mean([1.0], weight=32)
        [1.0]
    """

    index, count = 0, 1

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes checkpoints, logs and results."""
        return self.index == 0

    def share(self, number: int) -> tuple[int, int]:
        """(first, size) of this process's share of the tasks: consecutive tasks, in shares as equal as possible.

        Raises:
            UserError: there are fewer tasks than processes.
        """
        if number < self.count:
            raise UserError(f"{number} tasks are too few for {self.count} workers: start fewer workers")
        size, more = divmod(number, self.count)
        return self.index * size + min(self.index, more), size + (self.index < more)

    def mean(self, tensors: Any, weight: Any) -> Any:
        """The mean of a structure of tensors over all processes; it works in graphs too.

        Args:
            tensors: this process's structure of floating-point tensors.
            weight: weight of this process in the mean, its number of tasks: an integer or a tensor.
        """
        return tensors

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in at least one process."""
        return bool(flag)

    def gathered(self, arrays: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        """Joins the NumPy arrays of all processes into arrays [number, ...]; each gives the rows of its `share`."""
        return dict(arrays)

    def from_chief(self, data: bytes) -> bytes:
        """Returns the chief's data in every process; the data of the others is ignored."""
        return data

    def copy_from_chief(self, variables: Sequence[Any]) -> None:
        """Copies the chief's values of the variables to every process."""

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Context that the chief runs first, and the other processes after it; an error in one ends them all.

        The others can build on what the chief has done. Code within it must not contain a sum over processes.
        """
        yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Context for all that the processes do together: none leaves it before all have reached its end.

        Raises:
            WorkerEnded: another process has ended with an error.
            WorkerLost: another process has died, or cannot be reached.
        """
        yield


ALONE = Alone()
