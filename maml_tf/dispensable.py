"""Logs that training can do without: a full disk is no reason to lose hours of it."""

import sys
from collections.abc import Callable

from maml_tf.command import first_line


class Dispensable:
    """Writes for as long as that works; at the first error it says so on stderr, and then writes no more.

    Args:
        what: is written, such as the path of a file.
        errors: that mean that it cannot be written.
    """

    def __init__(self, what, errors: tuple[type[Exception], ...] = (OSError,)):
        self._what = what
        self._errors = errors
        self.failed = False

    def __call__(self, write: Callable, *arguments) -> None:
        """Calls `write`, unless that has failed before."""
        if self.failed:
            return
        try:
            write(*arguments)
        except self._errors as error:
            self.failed = True
            reason = getattr(error, "strerror", None) or first_line(error)
            lost = "training continues without it, and what would be written there from now on is lost"
            print(f"\nwarning: cannot write {self._what} ({reason}): {lost}", file=sys.stderr)
