"""Draws how the cost of a meta-training step grows, as scripts.benchmark_cost has measured it, and a model of it.

python -m scripts.plot_cost --measured=docs/figures/cost.csv

Writes cost.png, and prints the constants of the model, its errors, and every point. The model is in
scripts/figures/cost.py.
"""

import sys

from maml_tf.runs import process, style
from maml_tf.runs.flags import Flags, command
from scripts.benchmark_cost import read


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.path("measured", "docs/figures/cost.csv", "file that scripts.benchmark_cost has written with --csv")
    style.define(flags, "logs")


def run(flags: Flags) -> None:
    """Draws the picture, and prints the tables."""
    from scripts.figures import cost

    (path,) = style.paths(flags, ["cost"], "logs")
    rows = read(flags.measured)
    with process.quiet_import():  # TensorFlow is imported for the networks' shapes
        print("\n".join([*cost.described(rows), "", *cost.table(rows)]))
    print(style.save(style.make(cost.draw, rows, *cost.SIZE), path))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
