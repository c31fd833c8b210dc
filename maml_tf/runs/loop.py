"""How runs stop: on request after the step at hand, and at once where their folder cannot be written."""

import contextlib
import os
import signal

from data_generators.errors import UserError


class Interrupted(Exception):
    """The run was asked to stop, by Ctrl-C or SIGTERM; a checkpoint of the last iteration is saved."""


class StopRequest:
    """While entered, notes Ctrl-C and SIGTERM rather than letting them end a step early; a second one does."""

    def __init__(self):
        self.requested = False
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.requested = True
        self.__exit__()
        with contextlib.suppress(OSError):  # nobody may be there to read it
            # Not `print`, which a signal may have interrupted.
            os.write(2, b"\nStopping after this step and saving; a second Ctrl-C stops at once.\n")

    def __exit__(self, *error):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def make_writable(folder):
    """Makes a folder, and finds out whether files can be written there; UserError if not."""
    try:
        str(folder).encode()  # TensorFlow takes no other names, which is better said now than at the first checkpoint
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have tried it at the same moment
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): choose another --logdir") from error
    except ValueError as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeError) else "holds a NUL byte"
        raise UserError(f"the name {str(folder)!r} {reason}: choose another --logdir") from error
