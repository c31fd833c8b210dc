"""The table of the paper's section 5.1: errors on 600 sinusoids of MAML, pretraining and oracle, at K = 5, 10 and 20.

python -m scripts.sinusoid_table
python -m scripts.sinusoid_table --logdir=logs/sinusoid --seed=0 --seed=1 --seed=2 --csv=sinusoid_table.csv

As in the paper, every learner was trained with K = 10 and is tested with 5, 10 and 20 points. The pretrained baseline
appears with the step size of training, and tuned: with the step size that has the least mean error after 10 updates on
600 separate (validation) tasks of the same K. The oracle's inputs include amplitude and phase, so it knows the task.
Its error is the one at update 0, since updates make it diverge, perhaps to NaN.

The last columns are about the errors after 10 updates: their median over tasks, and how many are above 25, the square
of the largest amplitude. On these tasks the updates diverge, and their errors dominate the means. The csv has the
errors after every update, their means with errors above 25 counted as 25 (capped), and the errors by which the tuned
step size was chosen.
"""

import sys
from pathlib import Path

from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import


def define_runs(flags: Flags) -> None:
    """Defines the flags that say which runs of section 5.1 to read."""
    flags.string("logdir", None, "folder of the runs, as given to main.py; default: logs/sinusoid")
    flags.several("seed", int, "seed of a MAML run; default: those of all finished runs")
    flags.integer("iterations", 70_000, "iterations of training; default: the paper's")


def define(flags: Flags) -> None:
    """Defines the flags."""
    define_runs(flags)
    flags.path("csv", None, "file to write; default: sinusoid_table.csv in the folder of the runs")


def run(flags: Flags) -> None:
    """Prints and writes the table."""
    with quiet_import():
        from scripts.figures import sinusoid_learners

    rows = sinusoid_learners.error_rows(sinusoid_learners.load_learners(flags.logdir, flags.seed, flags.iterations))
    print(sinusoid_learners.table(rows, flags.iterations))
    path = style.write_csv(flags.csv or Path(flags.logdir or "logs/sinusoid", "sinusoid_table.csv"), rows)
    print(f"\nWritten to {path}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
