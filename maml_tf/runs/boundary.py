"""Handles the output, the errors and Ctrl-C of every command in the way that a user expects.

Imports no TensorFlow, so that --help and user errors are answered at once.
"""

import contextlib
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_generators.errors import exit_code, user_sentence

ONE_REQUEST = 0.5  # seconds within which several signals count as one request to stop


class Requests:
    """Counts requests to stop; each may come as several signals.

    A program that started this one may pass on a signal that the terminal has already sent to both, `timeout` sends two
    signals, and Linux may repeat the signal that it sends when a parent is killed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._latest = -math.inf

    def note(self) -> bool:
        """Notes a signal; returns whether it is a new request."""
        now = time.monotonic()
        if now - self._latest <= ONE_REQUEST:
            return False
        self.count, self._latest = self.count + 1, now
        return True


def while_loading() -> None:
    """Makes Ctrl-C end a command at once while it imports slow modules; keeps any handler that is not Python's own."""
    in_main_thread = threading.current_thread() is threading.main_thread()  # only it may set signal handlers
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def loaded() -> None:
    """Undoes `while_loading`: from here on Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_command() -> bool:
    """Whether Python is about to run a module of a package by `-m`, rather than a program that imports the package."""
    return (sys.argv or [""])[0] == "-m"  # its value while Python looks for the module


def from_anywhere() -> None:
    """Prepares the commands of an installation: calls `while_loading`, and allows imports from the current folder."""
    while_loading()
    sys.path.append("")  # last, so that a folder named like one of our packages does not hide it


_IN_CLONE = Path(__file__).parents[2].joinpath("scripts", "train_rl.py").exists()
_NAMES = {
    r"(?<![\w./])(?:python )?main\.py\b": "maml",
    r"(?<![\w./])(?:python -m )?scripts\.(train|evaluate|export)_rl\b": r"maml-rl \1",
}


def as_called_here(text: str) -> str:
    """Returns a text with commands as they are called here: unchanged in a clone, `maml` and `maml-rl` if installed."""
    for name, installed in _NAMES.items():
        text = text if _IN_CLONE else re.sub(name, installed, text)
    return text


def _end(number, frame):
    # Ends at once, since extension modules may turn a KeyboardInterrupt during their import into another error.
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


def guarded(body: Callable[..., int | None], *arguments: Any, interrupted: str = "interrupted") -> int:
    """Calls the body of a command and turns user errors and Ctrl-C into messages and exit codes.

    Args:
        body: function that returns an exit code, or None for 0.
        arguments: arguments of the body.
        interrupted: message to print after Ctrl-C.

    Returns:
        The exit code: the body's, 2 for a user error (75 if another worker is lost), 130 after Ctrl-C.
    """
    loaded()
    with lasting_output():
        try:
            return body(*arguments) or 0
        except KeyboardInterrupt:
            print(f"\n{interrupted}", file=sys.stderr)
            return 130
        except Exception as error:
            sentence = user_sentence(error)
            if sentence is None:
                raise
            print(f"error: {as_called_here(' '.join(sentence.splitlines()))}", file=sys.stderr)
            return exit_code(error)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """While entered, a command continues if its output cannot be written: a closed pipe, a full disk, no stream at all.

    Each line is written as soon as it is complete, so that a log file is up to date during hours of training.
    Characters that the terminal's encoding lacks are escaped.
    """
    _open_what_is_closed()
    streams = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = (_Lasting(nowhere if stream is None else stream) for stream in streams)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, _Lasting):
                    stream.flush()
            sys.stdout, sys.stderr = streams


def _open_what_is_closed():
    """Opens the null device in place of closed standard streams.

    Otherwise the next file to be opened would get the number of a closed stream, and the output meant for that stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


class _Lasting:
    """A text stream that discards all output after the first error."""

    def __init__(self, stream):
        self._stream = stream
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a notebook's stream cannot be configured
            stream.reconfigure(line_buffering=True, errors="backslashreplace")

    def write(self, text):
        with self._errors_end_it():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines):
        self.write("".join(lines))

    def flush(self):
        with self._errors_end_it():
            self._stream.flush()

    def __getattr__(self, name):
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _errors_end_it(self):
        try:
            yield
        except UnicodeError:
            raise
        except (OSError, ValueError):  # ValueError: the stream is closed
            # What the stream still holds, and what the process writes at its end, is then discarded without an error.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
