"""A command whose workers wait one second for each other: `python -m tests.workers.hurried`."""

import sys

from maml_tf.runs import flags, workers


def run(given):
    """Joins the other workers and does nothing else."""
    with workers.joined(patience=1):
        return 0


if __name__ == "__main__":
    sys.exit(flags.command(__doc__, lambda given: None, run))
