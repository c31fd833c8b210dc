"""A trained run, found by its experiment below the folder of runs: what tests and figures start from."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from data_generators.errors import UserError
from maml_tf import problems, tf1_checkpoints
from maml_tf.checkpoints import Checkpoints, available, find
from maml_tf.experiment import Experiment
from maml_tf.meta_learner import MAML


class Run(NamedTuple):
    """A restored run.

    experiment: its settings.
    maml: its MAML, with the weights of the checkpoint.
    problem: its data, for the number of shots asked for.
    iteration: of the checkpoint.
    folder: of the checkpoint.
    by_original: whether the checkpoint is one of the original code, so that `experiment` is what the user says that it
        was trained with.
    """

    experiment: Experiment
    maml: MAML
    problem: problems.Problem
    iteration: int
    folder: Path
    by_original: bool = False


def load_run(
    experiment, logdir=None, *, shots=None, iteration=None, data_dir=None, task_axis="auto", jit="auto"
) -> Run:
    """Restores what `main.py` trained, or what the original code did.

    Args:
        experiment: Experiment, the settings that it was trained with.
        logdir: folder of the runs, or one that holds the checkpoints itself; default logs/<datasource>.
        shots: K of the tasks to use it on, where it is not that of training.
        iteration: of the checkpoint; default, the latest.
        data_dir: folder of the data; default data/<datasource>.
        task_axis, jit: see `task_axis.resolve`.

    Raises:
        UserError: there is no such run, its message with the command that makes it; its checkpoint is damaged, of
            other settings or architecture, or not of that iteration; the data are missing.
    """
    folder = trained_folder(experiment, logdir)
    if not available(folder):
        raise UserError(f"no trained run in {folder}: make it by `{train_command(experiment, logdir)}`")
    problem = problems.load(experiment, data_dir, shots)
    maml = problems.build(experiment, problem.source, task_axis, jit, shots)
    iteration, by_original = restore(maml, experiment, folder, iteration)
    return Run(experiment, maml, problem, iteration, folder, by_original)


def restore(maml, experiment, folder, iteration=None) -> tuple[int, bool]:
    """Gives a MAML the weights of a checkpoint, ours or one of the original code.

    Args:
        maml: MAML, built for the experiment.
        experiment: Experiment.
        folder: of the checkpoints.
        iteration: of the checkpoint; default, the latest.

    Returns:
        (its iteration, whether it is of the original code).

    Raises:
        UserError: it is not there, damaged, or of other settings or architecture.
    """
    iteration = find(folder, iteration)
    path = folder / f"model{iteration}"
    if not tf1_checkpoints.is_tf1(path):
        return Checkpoints(folder, maml, experiment).restore(iteration), False
    if maml.step_sizes:
        raise UserError(
            f"checkpoint {path} is of the original code, which learns no step sizes: --learn_update_lr=False"
        )
    tf1_checkpoints.load(path, maml.model)
    return iteration, True


def trained_folder(experiment, logdir=None) -> Path:
    """The folder that has an experiment's checkpoints: its own or, where only that has any, logdir itself."""
    folder = run_folder(experiment, logdir)
    return Path(logdir) if logdir and available(logdir) and not available(folder) else folder


def run_folder(experiment, logdir=None) -> Path:
    """The folder where an experiment's checkpoints go, below logdir; default as in `load_run`."""
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
