"""Processes that share the tasks of every meta-batch: what is whose, and means over all of them.

All of them run the same program in lockstep, each with variables of its own that equal gradients and equal updates keep
equal. tf.distribute joins them, adds up, and notices when one is gone; nothing else is distributed, so that one process
alone is what it would be without this module.

The rule for all that uses `Workers`: what contains a sum is called by all of them in the same order, decided only by
numbers of iterations and by what has been summed; never by a clock, a file or a thread of one's own.
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
    """Another process has ended with an error, whose exit code becomes that of this one too.

    Args:
        code: that exit code.
    """

    def __init__(self, code: int):
        interrupted = "another worker was interrupted"
        super().__init__(interrupted if code == 130 else "another worker has ended with an error: see its output")
        self.exit_code = code


class Alone:
    """The only process, to which all tasks belong.

    index: of this process, from 0.
    count: of the processes.

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
        """(first, size) of this process's share of the tasks: consecutive ones, in shares as equal as possible.

        Raises:
            UserError: there are fewer tasks than processes.
        """
        if number < self.count:
            raise UserError(f"{number} tasks are too few for {self.count} workers: start fewer workers")
        size, more = divmod(number, self.count)
        return self.index * size + min(self.index, more), size + (self.index < more)

    def mean(self, tensors: Any, weight: Any) -> Any:
        """The mean over all processes of a structure of tensors; in graphs, too.

        Args:
            tensors: structure of floating-point tensors, this process's.
            weight: of this process in the mean, its number of tasks: an integer, or a tensor.
        """
        return tensors

    def any(self, flag: bool) -> bool:
        """Whether it is true in some process."""
        return bool(flag)

    def gathered(self, arrays: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        """NumPy arrays [number, ...], joined from those of all processes; each process has its `share`."""
        return dict(arrays)

    def from_chief(self, data: bytes) -> bytes:
        """What the chief gives; that of the others does not matter."""
        return data

    def copy_from_chief(self, variables: Sequence[Any]) -> None:
        """Gives variables the chief's values."""

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """A part that the chief does first, which other processes can then build on; an error in one ends them all.

        Nothing in it may contain a sum.
        """
        yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """The whole of what the processes do together: none leaves for good before all have come to its end.

        Raises:
            WorkerEnded: another one has ended with an error of its own.
            WorkerLost: another one has died, or cannot be reached.
        """
        yield


ALONE = Alone()
