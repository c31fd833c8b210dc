"""Logs that training can do without: a full disk is no reason to lose hours of it."""

import sys
from collections.abc import Callable

from maml_tf.command import user_sentence


class Dispensable:
    """Writes for as long as that works; at the first error it says so on stderr, and then writes no more.

    Only errors of files are taken so, see `command.user_sentence`: any other is ours, and raised.

    Args:
        what: is written, such as the path of a file.
    """

    def __init__(self, what):
        self._what = what
        self.failed = False

    def __call__(self, write: Callable, *arguments):
        """Calls `write`, unless that has failed before. Returns what it returns, or None."""
        if self.failed:
            return None
        try:
            return write(*arguments)
        except Exception as error:
            reason = user_sentence(error)
            if reason is None:
                raise
            self.failed = True
            lost = "training continues without it, and what would be written there from now on is lost"
            print(f"\nwarning: cannot write {self._what} ({reason}): {lost}", file=sys.stderr)
            return None
