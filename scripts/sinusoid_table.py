"""The table of the paper's section 5.1: errors on 600 sinusoids of MAML, pretraining and oracle, at K = 5, 10 and 20.

python -m scripts.sinusoid_table
python -m scripts.sinusoid_table --logdir=logs/sinusoid --seed=0 --seed=1 --seed=2 --csv=sinusoid_table.csv

As in the paper, every learner was trained with K = 10 and is tested with 5, 10 and 20 points. The pretrained baseline
appears with the step size of training and, tuned, with the best of several on 600 separate (validation) tasks of the
same K: that with the least mean error after 10 updates. The oracle is told the task: it is read at update 0, and
updates make it diverge, to NaN perhaps.

The last columns are of the errors after 10 updates: their median over tasks, and how many are above 25, the square of
the largest amplitude. On these tasks the updates diverge, and means say little more than that there are some. The csv
has the errors after every update, also their means with errors above 25 counted as 25 (capped), and those by which the
step size was chosen.
"""

import sys
from pathlib import Path

from maml_tf.runs.process import quiet_import
from scripts.command import guarded
from scripts.sinusoid.flags import parser


def main(arguments: list[str] | None = None) -> int:
    """Prints and writes the table; returns the exit code, 2 for a mistake that the user can mend."""
    flags = parser("sinusoid_table", __doc__)
    flags.add_argument("--csv", type=Path, help="file to write; default sinusoid_table.csv in the folder of the runs")
    return guarded(lambda: _run(flags.parse_args(arguments)))


def _run(flags):
    with quiet_import():  # only now, so that --help and mistakes need not wait for TensorFlow
        from scripts.figures import style
        from scripts.figures.sinusoid_errors import error_rows, load_learners
        from scripts.sinusoid.table import table

    rows = error_rows(load_learners(flags.logdir, flags.seed, flags.iterations))
    print(table(rows, flags.iterations))
    path = style.write_csv(flags.csv or Path(flags.logdir or "logs/sinusoid", "sinusoid_table.csv"), rows)
    print(f"\nWritten to {path}")


if __name__ == "__main__":
    sys.exit(main())
