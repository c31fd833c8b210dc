"""Compares tests of runs of main.py on the same tasks: a table, and a picture with the paired differences to the first.

python -m scripts.compare logs/omniglot/RUN logs/omniglot/OTHER logs/omniglot/THIRD
python -m scripts.compare RUN/test_ubs1_stepsize0.4.pkl RUN/test_ubs1_stepsize0.4_inductive.pkl --updates=1

Each argument is the folder of a run, which stands for its usual test, or the csv or pkl of one of its tests. A pkl has
the metric of every task. A difference is the mean over the tasks of a run's metric minus the first run's on the same
task, with its 95 % confidence interval. The tests must have the same dataset, ways, shots, queries, split and number of
tasks. Runs on your own images must be in the same folder.

Writes comparison.csv and .png into the folder of the first, unless --out names another folder or a .png or .pdf.
"""

import sys

from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.argument(
        "runs", "folders of runs, or files of their tests; the others are compared with the first", several=True
    )
    flags.integer(
        "updates", None, "number of updates after which to compare; default: the reported one of each run", least=1
    )
    style.define(flags, "that of the first run")


def run(flags: Flags) -> None:
    """Prints the table and writes the picture."""
    style.check(flags)
    with quiet_import():
        from scripts.figures import comparison

    tests = comparison.load(flags.runs)
    rows = comparison.numbers(tests, flags.updates)
    (path,) = style.paths(flags, ["comparison"], tests[0].file.parent)
    print(comparison.table(tests, rows), end="\n\n")
    style.write(path, rows, comparison.drawing(tests), comparison.size(rows))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
