"""The table of the paper's section 5.1: errors on 600 sinusoids of MAML, pretraining and oracle, at K = 5, 10 and 20.

python -m scripts.sinusoid_table
python -m scripts.sinusoid_table --logdir=logs/sinusoid --seed=0 --seed=1 --seed=2 --csv=sinusoid_table.csv

As in the paper, every learner was trained with K = 10 and is tested with 5, 10 and 20 points. The pretrained baseline
appears with the step size of training and, tuned, with the best of several on 600 separate (validation) tasks of the
same K: that with the least mean error after 10 updates. The oracle's inputs hold the task: its error is that at update
0, since updates make it diverge, perhaps to NaN.

The last columns are of the errors after 10 updates: their median over tasks, and how many are above 25, the square of
the largest amplitude. The updates diverge on these tasks, which dominate the means. The csv has the errors after every
update, also their means with errors above 25 counted as 25 (capped), and those by which the step size was chosen.
"""

import sys
from pathlib import Path

from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from maml_tf.supervised.report import aligned, loss_text
from scripts.figures import sinusoid_errors, style
from scripts.figures.sinusoid_errors import DIVERGED, MAML, MEAN, ORIGINAL, SHOTS, UPDATES

SHOWN_UPDATES = (0, 1, 5, 10)


def define_runs(flags: Flags) -> None:
    """Defines the flags that say which runs of section 5.1 to take."""
    flags.string("logdir", None, "folder of the runs, as given to main.py; default: logs/sinusoid")
    flags.several("seed", int, "of a MAML run; default: all finished")
    flags.integer("iterations", 70_000, "of training; the paper's")


def define(flags: Flags) -> None:
    """Defines the flags."""
    define_runs(flags)
    flags.path("csv", None, "file to write; default: sinusoid_table.csv in the folder of the runs")


def run(flags: Flags) -> None:
    """Prints and writes the table."""
    with quiet_import():
        from scripts.figures.sinusoid_learners import load_learners

    rows = sinusoid_errors.numbers(load_learners(flags.logdir, flags.seed, flags.iterations))
    print(table(rows, flags.iterations))
    path = style.write_csv(flags.csv or Path(flags.logdir or "logs/sinusoid", "sinusoid_table.csv"), rows)
    print(f"\nWritten to {path}")


def table(rows, iterations) -> str:
    """The errors after 0, 1, 5 and 10 updates.

    Args:
        rows: of `sinusoid_errors.numbers`.
        iterations: of training.
    """
    names = [f"{n} update{'' if n == 1 else 's'}" for n in SHOWN_UPDATES]
    cells = []
    for shots in SHOTS:
        cells += [[f"K = {shots}", "step size", *names, "median", "diverged"], *_lines(rows, shots)]
    lines = ["", *(f"\n{line}" if line.startswith("K = ") else line for line in aligned(cells))]
    return "\n".join(
        [
            "Mean squared error on the query points of 600 test tasks, +- 95 % confidence interval over tasks;",
            f"trained with K = 10 for {iterations} iterations",
            *lines[1:],
            "",
            f"median, diverged: of the errors after {UPDATES} updates, and how many are above {DIVERGED:.0f}",
            "original: the authors' code, run under TensorFlow 1.2.1 for 70000 iterations; *: on the support points",
        ]
    )


def _lines(rows, shots):
    """A list of texts for each learner, seed and step size."""
    lines = {}
    for row in rows:
        query = row["points"] == "query" or row["learner"] in ORIGINAL.values()
        if row["shots"] == shots and row["split"] == "test" and query:
            lines.setdefault((_name(row), f"{row['step_size']:g}"), {})[row["updates"]] = row
    return [[*key, *(_text(of_key.get(n)) for n in SHOWN_UPDATES), *_last(of_key)] for key, of_key in lines.items()]


def _name(row):
    if row["learner"] != MAML:
        return row["learner"]
    return "MAML, mean over seeds" if row["seed"] == MEAN else f"MAML, seed {row['seed']}"


def _text(row):
    if row is None:
        return ""
    text = f"{row['mse']:.4g}" if row["ci95"] is None else loss_text(row["mse"], row["ci95"])
    return text + ("*" if row["points"] == "support" else "")


def _last(of_key):
    last = of_key.get(UPDATES)
    if last is None or last["median"] is None:
        return ["", ""]
    return [f"{last['median']:.4g}", str(last["diverged"])]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
