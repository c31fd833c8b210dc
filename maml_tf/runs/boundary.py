"""The boundary of every command: its output, its errors and Ctrl-C become what a user expects.

Imports no TensorFlow, so that --help and mistakes are answered at once.
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

ONE_REQUEST = 0.5  # seconds within which several signals are one request to stop


class Requests:
    """Counts requests to stop, of which each may come as several signals.

    Programs that start others pass on what a terminal has sent to all of them already, `timeout` sends two, and Linux
    may repeat the one that it sends for a killed parent.
    """

    def __init__(self) -> None:
        self.count = 0
        self._latest = -math.inf

    def note(self) -> bool:
        """Notes a signal; returns whether it is a request of its own."""
        now = time.monotonic()
        if now - self._latest <= ONE_REQUEST:
            return False
        self.count, self._latest = self.count + 1, now
        return True


def while_loading() -> None:
    """For commands, before they import what takes a moment; without effect where Ctrl-C has another meaning already."""
    in_main_thread = threading.current_thread() is threading.main_thread()  # which alone may take signals
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def loaded() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_command() -> bool:
    """Whether Python is about to run a script of a package, rather than a program that imports it."""
    return (sys.argv or [""])[0] == "-m"  # so it is while Python looks for the script


def from_anywhere() -> None:
    """For the commands of an installation: `while_loading`, and a user's modules in the current folder are found."""
    while_loading()
    sys.path.append("")  # last, so that a folder named like a package of ours is no matter


_IN_CLONE = Path(__file__).parents[2].joinpath("scripts", "train_rl.py").exists()
_NAMES = {
    r"(?<![\w./])(?:python )?main\.py\b": "maml",
    r"(?<![\w./])(?:python -m )?scripts\.(train|evaluate|export)_rl\b": r"maml-rl \1",
}


def as_called_here(text: str) -> str:
    """A text that calls commands as a clone does, as it is there; with `maml` and `maml-rl` in an installation."""
    for name, installed in _NAMES.items():
        text = text if _IN_CLONE else re.sub(name, installed, text)
    return text


def _end(number, frame):
    # At once: extension modules make errors of their own of a KeyboardInterrupt that comes while they load.
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


def guarded(body: Callable[..., int | None], *arguments: Any, interrupted: str = "interrupted") -> int:
    """Calls the body of a command and turns its errors into what a user expects.

    Args:
        body: returns an exit code, or None for 0.
        arguments: of the body.
        interrupted: what to say after Ctrl-C.

    Returns:
        The exit code: the body's, 2 for an error that the user can mend (75 where another worker is gone), 130 after
        Ctrl-C.
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
    """While entered, a command lives on when nobody can read its output: a closed pipe, a full disk, no stream at all.

    Lines are written when they are complete, so that a log file is up to date during hours of training; letters that
    the terminal does not have are escaped.
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
    """Otherwise the next file to be opened would take the number of a closed stream, and what is written there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


class _Lasting:
    """A text stream that drops what is written to it from the first error on."""

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
        except (OSError, ValueError):  # ValueError: it is closed
            # What the stream still holds, and what the process writes at its end, goes nowhere without an error.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
