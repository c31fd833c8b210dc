"""The learners of the paper's section 5.1, restored from the runs of main.py, and tested with any number of shots."""

import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build
from maml_tf.supervised.build import load_run, run_folder, train_command
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.experiment import Experiment
from scripts.figures.sinusoid_errors import UPDATES

ITERATIONS = 70_000
STEP_SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


class Learner:
    """A restored run, tested with any number of shots.

    Args:
        run: build.Run.
    """

    def __init__(self, run):
        self.experiment = run.experiment
        self.maml = run.maml
        # One graph for all step sizes, where `MAML.evaluate` would compile one for each.
        self._curves = run.maml.compiler(
            lambda tasks, step_size: run.maml.curves.graph(tasks, step_size, num_updates=UPDATES)
        )

    def tasks(self, shots, split="test"):
        """The 600 tasks of a split as Tasks: "test", the original's own, or "val"."""
        return build.load(self.experiment, None, shots).evaluation_tasks(split, 0, EVALUATION_TASKS)

    def errors(self, shots, *, step_size=None, split="test") -> tuple[np.ndarray, np.ndarray]:
        """Mean squared errors on the 600 tasks of a split.

        Args:
            shots: K of the tasks.
            step_size: of the updates; default, that of training.
            split: "test" or "val".

        Returns:
            ([600] on the support before any update, [600, 11] on the query after 0, 1, ... 10 updates), float64.
        """
        step_size = tf.constant(step_size or self.experiment.update_lr)
        found = self._curves(self.tasks(shots, split), step_size)
        return tuple(found[name].numpy().astype(np.float64) for name in ("support_loss", "losses"))

    def tune(self, shots) -> tuple[float, dict[float, tuple[np.ndarray, np.ndarray]]]:
        """Chooses the step size of STEP_SIZES with the least mean error after 10 updates on the validation tasks.

        Args:
            shots: K of the tasks.

        Returns:
            (the best step size, the `errors` on the validation tasks by step size).
        """
        found = {step_size: self.errors(shots, step_size=step_size, split="val") for step_size in STEP_SIZES}
        with np.errstate(invalid="ignore", over="ignore"):
            last = [query[:, -1].mean() for _, query in found.values()]
        return STEP_SIZES[int(np.argmin(np.nan_to_num(last, nan=np.inf)))], found


class Learners(NamedTuple):
    """What the paper compares, all trained with K = 10.

    maml: by seed.
    pretrained: trained to fit all tasks at once; it adapts like MAML.
    oracle: given amplitude and phase as inputs; it has nothing to adapt to.
    """

    maml: dict[int, Learner]
    pretrained: Learner
    oracle: Learner


def load_learners(logdir=None, seeds=None, iterations=ITERATIONS) -> Learners:
    """Restores the runs of `main.py`; the baselines are those of seed 0.

    Args:
        logdir: folder of the runs; default logs/sinusoid.
        seeds: of the MAML runs; default, all that have come to their end.
        iterations: of training, for all of them.

    Raises:
        UserError: a run is missing or has not come to its end; the message has the command that trains it.
    """
    seeds = sorted(set(seeds or _finished_seeds(logdir, iterations)))
    baseline = {"pretrain_iterations": iterations, "metatrain_iterations": 0}
    return Learners(
        {seed: _load(Experiment.of(metatrain_iterations=iterations, seed=seed), logdir) for seed in seeds},
        _load(Experiment.of(**baseline), logdir),
        _load(Experiment.of(**baseline, baseline="oracle"), logdir),
    )


def _load(experiment, logdir):
    folder, there = run_folder(experiment, logdir), available(run_folder(experiment, logdir))
    if there and experiment.iterations not in there:
        command = train_command(experiment, logdir)
        raise UserError(
            f"the run in {folder} has a checkpoint of iteration {there[-1]} but none of {experiment.iterations}: "
            f"finish it by `{command}`, or give --iterations"
        )
    # Without XLA: what is computed here takes less time than compiling it would.
    return Learner(load_run(experiment, logdir, iteration=experiment.iterations, jit=False))


def _finished_seeds(logdir, iterations):
    """Seeds of the MAML runs that have come to their end; 0 if there are none, so that its absence is told."""
    first = run_folder(Experiment.of(), logdir)
    folders = {re.fullmatch(rf"{re.escape(first.name)}(?:\.seed(\d+))?", f.name): f for f in first.parent.glob("*")}
    return [int(name[1] or 0) for name, folder in folders.items() if name and iterations in available(folder)] or [0]
