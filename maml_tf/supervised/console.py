"""The command `maml` of an installation, which is `python main.py` of a clone."""

import sys

from maml_tf.runs.boundary import from_anywhere


def main() -> int:
    """Runs the command of this process; returns its exit code."""
    from_anywhere()
    from maml_tf.supervised import command_line  # only now, so that Ctrl-C is answered while it loads

    return command_line.main(sys.argv)
