"""A trained run, found by its experiment below the folder of runs: what tests and figures start from."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from data_generators.errors import UserError
from maml_tf import problems
from maml_tf.checkpoints import Checkpoints, available
from maml_tf.experiment import Experiment
from maml_tf.meta_learner import MAML


class Run(NamedTuple):
    """A restored run.

    experiment: its settings.
    maml: its MAML, with the weights of the checkpoint.
    problem: its data, for the number of shots asked for.
    iteration: of the checkpoint.
    folder: of the checkpoint.
    """

    experiment: Experiment
    maml: MAML
    problem: problems.Problem
    iteration: int
    folder: Path


def load_run(
    experiment, logdir=None, *, shots=None, iteration=None, data_dir=None, task_axis="auto", jit="auto"
) -> Run:
    """Restores what `main.py` trained.

    Args:
        experiment: Experiment, the settings that it was trained with.
        logdir: folder of the runs; default logs/<datasource>.
        shots: K of the tasks to use it on, where it is not that of training.
        iteration: of the checkpoint; default, the latest.
        data_dir: folder of the data; default data/<datasource>.
        task_axis, jit: see `task_axis.resolve`.

    Raises:
        UserError: there is no such run, its message with the command that makes it; its checkpoint is damaged, of
            other settings, or not of that iteration; the data are missing.
    """
    folder = run_folder(experiment, logdir)
    if not available(folder):
        raise UserError(f"no trained run in {folder}: make it by `{train_command(experiment, logdir)}`")
    problem = problems.load(experiment, data_dir, shots)
    maml = problems.build(experiment, problem.source, task_axis, jit, shots)
    return Run(experiment, maml, problem, Checkpoints(folder, maml, experiment).restore(iteration), folder)


def run_folder(experiment, logdir=None) -> Path:
    """The folder of an experiment's checkpoints; logdir as in `load_run`."""
    return Path(logdir or Path("logs", experiment.datasource)) / experiment.name


def train_command(experiment, logdir=None) -> str:
    """The command that trains an experiment: the flags that differ from the paper's values; logdir as in `load_run`."""
    default = Experiment.of()
    paper = Experiment.of(datasource=experiment.datasource, num_classes=experiment.num_classes)
    flags = []
    for name, value in dataclasses.asdict(experiment).items():
        usual = getattr(default if name in ("datasource", "num_classes") else paper, name)
        flags += [f"--{name}={value}"] if value != usual else []
    return " ".join(["python main.py", *flags] + ([f"--logdir={logdir}"] if logdir else []))
