"""Draws the paper's table 1 and figure 5 from the record of results, docs/results.csv: published numbers beside ours.

python -m scripts.plot_results

Writes results_table_1.png (accuracies) and results_figure_5.png (returns by update), each with a csv of its numbers.
"""

import sys

from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from scripts import record
from scripts.figures import paper


def define(flags: Flags) -> None:
    """Defines the flags."""
    style.define(flags, "logs")


def run(flags: Flags) -> None:
    """Draws the pictures."""
    table_1, figure_5 = style.paths(flags, ["results_table_1", "results_figure_5"], "logs")
    lines = record.read()
    style.write(table_1, paper.table_1(lines), paper.draw_table_1, paper.TABLE_1_SIZE)
    style.write(figure_5, paper.figure_5(lines), paper.draw_figure_5, paper.FIGURE_5_SIZE)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
