"""Processes that share the tasks of a meta-batch: here the one that has them all to itself."""

from typing import Any


class Alone:
    """The only process.

    Example:
        >>> ALONE.share(32)
        (0, 32)
    """

    index = 0
    count = 1
    is_chief = True

    def share(self, number: int) -> tuple[int, int]:
        """Which of so many tasks this process takes, as (index of its first, how many)."""
        return 0, number

    def mean(self, tensors: Any, weight: int) -> Any:
        """The mean over all processes of a structure of tensors.

        Args:
            tensors: structure of floating-point tensors, this process's.
            weight: of this process in the mean, its number of tasks.
        """
        return tensors

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any of the processes."""
        return bool(flag)


ALONE = Alone()
