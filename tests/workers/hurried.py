"""A command whose workers wait for each other for a second: `python -m tests.workers.hurried`."""

import sys

from maml_tf.runs import flags, workers


def run(given):
    """Joins the others, and that is all."""
    with workers.joined(patience=1):
        return 0


if __name__ == "__main__":
    sys.exit(flags.command(__doc__, lambda given: None, run))
