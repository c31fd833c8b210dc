"""Imported before anything else by commands: Ctrl-C while they load ends them without a traceback."""

import sys


def _hook(kind, error, traceback, previous=sys.excepthook):
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr)
    else:
        previous(kind, error, traceback)


sys.excepthook = _hook
