"""Draws the figures of the paper's section 5.1 from the runs of main.py, each with its numbers in a csv beside it.

python -m scripts.plot_sinusoid
python -m scripts.plot_sinusoid --logdir=logs/sinusoid --format=pdf
python -m scripts.plot_sinusoid --figure=errors --out=errors.pdf

Writes them into the folder of the runs, unless --out names another folder or, for a single figure, a file:

sinusoid_fits         the true sine, the support points and the curves fitted to them after 0, 1 and 10 updates, by MAML
                      (its first seed) and the pretrained baseline (step size tuned); the test tasks 3 and 4, and task 8
                      with its points moved to one half of the range
sinusoid_errors       the error after every update with 95 % confidence bands; an error above 25 counts as 25, since
                      the updates of a few tasks diverge; MAML's mean over seeds is a thick line, its seeds thin lines
sinusoid_sensitivity  the loss on the query along theta - s * gradient of the loss on the support, how far a step of the
                      usual size lowers it, and the gradient's norm, for MAML (its first seed), the pretrained baseline
                      and the weights before any training; means over 600 test tasks with 95 % confidence intervals
"""

import sys
from pathlib import Path

from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from scripts import sinusoid_table


def define(flags: Flags) -> None:
    """Defines the flags."""
    sinusoid_table.define_runs(flags)
    flags.several("figure", ["fits", "errors", "sensitivity"], "figure to draw; default: all")
    style.define(flags, "that of the runs")


def run(flags: Flags) -> None:
    """Writes the pictures."""
    with quiet_import():
        from scripts.figures.sinusoid import PICTURES
        from scripts.figures.sinusoid_learners import load_learners

    names = flags.figure or list(PICTURES)
    style.check(flags, len(names))
    learners = load_learners(flags.logdir, flags.seed, flags.iterations)
    folder = Path(flags.logdir or "logs/sinusoid")
    paths = style.paths(flags, [f"sinusoid_{name}" for name in names], folder)
    for name, path in zip(names, paths, strict=True):
        picture = PICTURES[name]
        style.write(path, picture.numbers(learners), picture.draw, picture.size)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
