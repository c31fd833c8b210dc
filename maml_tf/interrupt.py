"""Ctrl-C while a command loads ends it at once, without a traceback."""

import os
import signal
import sys
import threading


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


def _end(number, frame):
    # At once: extension modules make errors of their own of a KeyboardInterrupt that comes while they load.
    os.write(2, b"\ninterrupted\n")
    os._exit(130)
