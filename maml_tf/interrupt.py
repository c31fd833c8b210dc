"""Imported before anything else by commands: Ctrl-C while they load ends them without a traceback."""

import os
import signal
import sys
import threading
from pathlib import Path


def _end(number, frame):
    # At once: extension modules make errors of their own of a KeyboardInterrupt that comes while they load.
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


def loaded() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    """Whether Python has been started with a command, rather than with tests or a program that imports one."""
    name = (sys.argv or [""])[0]  # "-m" while Python looks for a script's package
    in_main_thread = threading.current_thread() is threading.main_thread()  # which alone may take signals
    return in_main_thread and (name == "-m" or Path(name).name == "main.py")


def _hook(kind, error, traceback, previous=sys.excepthook):
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr)
    else:
        previous(kind, error, traceback)


sys.excepthook = _hook
if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
