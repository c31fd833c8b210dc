"""Draws the pictures of the paper's section 5.1 from the runs of main.py, each with its numbers in a csv beside it.

python -m scripts.plot_sinusoid
python -m scripts.plot_sinusoid --logdir=logs/sinusoid --format=pdf
python -m scripts.plot_sinusoid --figure=errors --out=errors.pdf

They are written into the folder of the runs, unless --out names another folder, or for one of them a file:

sinusoid_fits         the true sine, the support points and the curves fitted to them after 0, 1 and 10 updates, by MAML
                      (its first seed) and the pretrained baseline (step size tuned); the test tasks 3 and 4, and task 8
                      with its points moved to one half of the range
sinusoid_errors       the error after every update with 95 % confidence bands, an error above 25 counted as 25, since
                      the updates of a few tasks diverge; MAML's mean over seeds is thick, its seeds are thin
sinusoid_sensitivity  the loss on the query along theta - s * gradient of the loss on the support, how far a step of the
                      usual size lowers it, and the gradient's norm, for MAML (its first seed), the pretrained baseline
                      and the weights before any training; means over 600 test tasks with 95 % confidence intervals
"""

import sys
from pathlib import Path

from maml_tf.runs.process import quiet_import
from scripts.command import guarded
from scripts.figures import style
from scripts.sinusoid.flags import parser


def main(arguments: list[str] | None = None) -> int:
    """Writes the pictures; returns the exit code, 2 for a mistake that the user can mend."""
    flags = parser("plot_sinusoid", __doc__)
    names = ["fits", "errors", "sensitivity"]
    flags.add_argument("--figure", action="append", choices=names, help="may be repeated; default: all")
    style.add(flags, "that of the runs")
    return guarded(lambda: _run(flags.parse_args(arguments)))


def _run(flags):
    with quiet_import():  # only now, so that --help and mistakes need not wait for TensorFlow
        from scripts.figures import sinusoid_errors, sinusoid_fits, sinusoid_sensitivity
        from scripts.figures.sinusoid_errors import load_learners

    pictures = {"fits": sinusoid_fits, "errors": sinusoid_errors, "sensitivity": sinusoid_sensitivity}
    names = flags.figure or list(pictures)
    style.check(flags, len(names))
    learners = load_learners(flags.logdir, flags.seed, flags.iterations)
    folder = Path(flags.logdir or "logs/sinusoid")
    paths = style.paths(flags, [f"sinusoid_{name}" for name in names], folder)
    for name, path in zip(names, paths, strict=True):
        picture = pictures[name]
        rows = picture.numbers(learners)
        style.write_csv(path.with_suffix(".csv"), rows)
        print(style.save(style.make(picture.draw, rows, *picture.SIZE), path))


if __name__ == "__main__":
    sys.exit(main())
