"""Defines and makes the runs of an earlier commit, which `test_old_runs.py` continues with today's code.

python -m tests.net.old_runs --project=PATH --out=tests/net/made_by_9b8b6c5
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# isort: split

from tests.net import arrays, commands, data

FOLDER = Path(__file__).with_name("made_by_9b8b6c5")


class OldRun(NamedTuple):
    """A run that was interrupted in the middle, then resumed to its end.

    program, arguments: the command.
    half: further arguments that make it end in the middle.
    data: function that makes the data in a folder.
    after: commands that follow, each a program and its arguments.
    sensitive: parts of the names of arrays whose rounding errors are much larger than those of others.
    """

    program: str
    arguments: tuple[str, ...]
    half: tuple[str, ...]
    data: Callable = lambda folder: None
    after: tuple = ()
    sensitive: tuple[str, ...] = ()

    def finish(self, run):
        """Runs everything after the middle, by run(program, *arguments); all commands must succeed."""
        for program, *arguments in ((self.program, *self.arguments), *self.after):
            result = run(program, *arguments)
            assert result.returncode == 0, result.stderr


_MAIN = ("--meta_batch_size=2", "--validation_interval=0", "--jit=false", "--log=false", "--logdir=runs")
_SINE = (*_MAIN, "--pretrain_iterations=3", "--learn_update_lr")
_OMNIGLOT = (*_MAIN, "--datasource=omniglot", "--data_dir=omniglot", "--num_classes=2", "--num_filters=2")
_PICTURES = (*_MAIN, "--datasource=folder", "--data_dir=mine", "--num_classes=2", "--num_filters=2", "--image_size=16")
_POLICY = ("--meta_batch_size=2", "--fast_batch_size=3", "--horizon=8", "--hidden_size=4", "--hessian_product=exact")
_POLICY = (*_POLICY, "--logdir=runs")
_RETURNS = (*_POLICY, "--test_iter=2", "--policy=maml", "--trajectories=2", "--num_updates=1", "--out=runs/out")
_CLASSIFIER = (
    *("--datasource=omniglot", "--data_dir=omniglot", "--num_classes=2", "--num_filters=2", "--batch_size=8"),
    *("--num_tasks=5", "--tuning_tasks=3", "--num_updates=2", "--step_sizes=0.1", "--decays=0", "--logdir=runs"),
)
RUNS = {
    "sinusoid": OldRun(
        "main",
        (*_SINE, "--metatrain_iterations=5"),
        ("--metatrain_iterations=2",),
        after=(("main", *_SINE, "--metatrain_iterations=5", "--export_dir=exported"),),
    ),
    "omniglot": OldRun("main", (*_OMNIGLOT, "--metatrain_iterations=4"), ("--metatrain_iterations=2",), data.omniglot),
    "folder": OldRun(
        "main",
        (*_PICTURES, "--num_updates=1", "--metatrain_iterations=4"),
        ("--metatrain_iterations=2",),
        data.pictures,
    ),
    "policy": OldRun(
        "scripts.train_rl",
        (*_POLICY, "--log=false", "--iterations=3"),
        ("--iterations=2",),
        after=(
            ("scripts.evaluate_rl", *_RETURNS),
            ("scripts.export_rl", *_POLICY, "--test_iter=2", "--export_dir=exported"),
        ),
        sensitive=("model3.index", "progress.csv"),  # conjugate gradient amplifies rounding
    ),
    "classifier": OldRun("scripts.baselines", (*_CLASSIFIER, "--iterations=4"), ("--iterations=2",), data.omniglot),
}


def make(name, project, out):
    """Makes a run: its runs/ in the middle, its exported/ if there is one, and end.npz with the arrays at its end."""
    run = RUNS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run.data(folder)

        def command(program, *arguments):
            return commands.run(folder, program, *arguments, project=project)

        middle = command(run.program, *run.arguments, *run.half)
        assert middle.returncode == 0, middle.stderr
        shutil.copytree(folder / "runs", out / name / "runs", ignore=shutil.ignore_patterns("test_*"))
        run.finish(command)
        if (folder / "exported").exists():
            shutil.copytree(folder / "exported", out / name / "exported")
        np.savez_compressed(out / name / "end.npz", **arrays.in_folder(folder, "runs/**/*", "exported/**/*"))


def main():
    """Makes all runs; returns the exit code."""
    parser = argparse.ArgumentParser("python -m tests.net.old_runs", description=__doc__)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=RUNS, help="may be repeated; default: all")
    flags = parser.parse_args()
    for name in flags.only or RUNS:
        make(name, flags.project.resolve(), flags.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
