"""The command `maml` of an installation, which corresponds to `python main.py` in a clone."""

import sys

from maml_tf.runs.boundary import from_anywhere


def main() -> int:
    """Runs the command of this process; returns its exit code."""
    from_anywhere()
    from maml_tf.supervised import command_line  # not at the top, so that Ctrl-C works while it loads

    return command_line.main(sys.argv)
