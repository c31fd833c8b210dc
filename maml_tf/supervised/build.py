"""From an Experiment to its task source, its evaluation tasks and its MAML, new or restored from a run."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import keras

from data_generators.episodes import EVALUATION_SEED, Episodes
from data_generators.errors import UserError
from data_generators.miniimagenet import load_miniimagenet
from data_generators.omniglot import load_omniglot
from data_generators.own_images import load_image_folder
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML, adam
from maml_tf.runs.checkpoints import MAMLCheckpoints, available, find, is_tf1
from maml_tf.supervised import original_checkpoints
from maml_tf.supervised.experiment import EVALUATION_TASKS, Experiment

_MINIIMAGENET_QUERIES = 15


class Problem(NamedTuple):
    """A task source, and its fixed evaluation tasks.

    source: has `sample(seed, split, iteration, num_tasks) -> Tasks`, `input_shape` and `output_size`.
    evaluation_tasks: function (split, first, count) -> Tasks of the fixed list of a split, "val" or "test", with K
        queries per class; UserError if the data have no such split.
    validation_tasks: function (first, count) -> Tasks of the fixed list for validation during training, with as many
        queries as training has.
    splits: the splits that there are.
    """

    source: Any
    evaluation_tasks: Any
    validation_tasks: Any
    splits: tuple[str, ...]

    def check_trainable(self):
        """Finds out before hours of training whether there is a split to train on and one to validate on.

        Raises:
            UserError: there is not.
        """
        check_trainable(self.splits)

    def split_to_test(self, test_set=None):
        """The split that a test takes: "test", or "val" if test_set is False, or None and there is no other.

        Raises:
            UserError: the data have no such split.
        """
        split = "val" if test_set is False or (test_set is None and "test" not in self.splits) else "test"
        if split not in self.splits:
            raise UserError(_no_classes_of(split))
        return split


def check_trainable(splits):
    """Raises UserError unless there is a split to train on and one to validate on."""
    for split in ("train", "val"):
        if split not in splits:
            there = " and ".join(splits)
            raise UserError(f"training needs the splits train and val, but the data have only {there}")


def load(experiment, data_dir=None, shots=None):
    """Loads or makes the data of an experiment.

    Args:
        experiment: Experiment.
        data_dir: folder of the datasource's files; default data/omniglot or data/miniImagenet.
        shots: K, where it is not that of training.

    Raises:
        UserError: the data are missing or malformed, or too few for the ways and shots.
    """
    shots = shots or experiment.update_batch_size
    if experiment.datasource == "sinusoid":
        source = Sinusoid(shots, oracle=experiment.baseline == "oracle")
        evaluation_tasks = functools.partial(_sinusoids, source)
        return Problem(source, evaluation_tasks, functools.partial(evaluation_tasks, "val"), ("train", "val", "test"))
    return _of_images(experiment, *load_images(experiment, data_dir), shots)


def _of_images(experiment, splits, rotate, shots):
    """As in the original, a test has K query images per class, but training on miniImagenet, and its validation, 15."""
    ways, training_shots = experiment.num_classes, experiment.update_batch_size
    source = tests = Episodes(_without("train", splits), ways, shots, shots, rotate)
    if "train" in splits:
        queries = _MINIIMAGENET_QUERIES if experiment.is_like_miniimagenet else training_shots
        source = Episodes(_without("test", splits), ways, training_shots, queries, rotate)
    validation_tasks = functools.partial(source.episodes, EVALUATION_SEED, "val")
    return Problem(source, functools.partial(_evaluation_tasks, tests), validation_tasks, tuple(splits))


def build(experiment, source, task_axis="auto", jit="auto", shots=None):
    """The MAML of an experiment, its network freshly initialised from the experiment's seed.

    Args:
        experiment: Experiment.
        source: of the Problem.
        task_axis, jit: see `task_axis.resolve`.
        shots: K, where it is not that of training; the loss is divided by it.

    Returns:
        MAML.
    """
    keras.utils.set_random_seed(experiment.seed)
    shots = shots or experiment.update_batch_size
    loss, accuracy = losses.mse, None
    if not experiment.is_regression:
        loss, accuracy = losses.SoftmaxCrossEntropy(shots), losses.accuracy
    return MAML(
        _network(experiment, source.input_shape, source.output_size),
        loss,
        step_size=experiment.update_lr,
        num_updates=experiment.num_updates,
        first_order=experiment.stop_grad,
        learn_step_size=experiment.learn_update_lr,
        accuracy=accuracy,
        # The original clips only when it meta-trains on miniImagenet.
        optimizer=adam(experiment.meta_lr, clip=10.0 if experiment.is_like_miniimagenet else None),
        pretrain_optimizer=adam(experiment.meta_lr),
        task_axis=task_axis,
        jit=jit,
    )


def _network(experiment, input_shape, outputs):
    if experiment.is_regression:
        return networks.mlp(input_shape, outputs, (40, 40), experiment.norm)
    if not experiment.conv:
        return networks.mlp(input_shape, outputs, (256, 128, 64, 64), experiment.norm)
    flatten = experiment.is_like_miniimagenet
    return networks.conv4(input_shape, outputs, experiment.num_filters, experiment.norm, experiment.max_pool, flatten)


def load_images(experiment, data_dir=None):
    """The images of an experiment.

    Args:
        experiment: Experiment, not of regression.
        data_dir: as for `load`.

    Returns:
        (dict of ClassImages by split: train, val and test, where they are there; whether tasks turn their classes).

    Raises:
        UserError: the data are missing or malformed.
    """
    if experiment.datasource == "omniglot":
        return load_omniglot(data_dir or Path("data", "omniglot")), True
    if experiment.datasource == "miniimagenet":
        return load_miniimagenet(data_dir or Path("data", "miniImagenet")), False
    if data_dir is None:
        raise UserError("--datasource=folder needs --data_dir, the folder with your images")
    return load_image_folder(data_dir, experiment.image_size, experiment.image_channels), False


def _without(split, splits):
    return {name: data for name, data in splits.items() if name != split}


def _evaluation_tasks(episodes, split, first, count):
    if split not in episodes.splits:
        raise UserError(_no_classes_of(split))
    return episodes.episodes(EVALUATION_SEED, split, first, count)


def _no_classes_of(split):
    return f"there are no classes of a {split} split: add them to the data, or change --test_set"


def _sinusoids(source, split, first, count):
    """The original's own test tasks; for validation, tasks of the same distribution."""
    if split == "test":
        tasks = source.test_tasks(first + count)
    else:
        tasks = source.sample(EVALUATION_SEED, split, 0, EVALUATION_TASKS)
    return Tasks(*(values[first : first + count] for values in tasks))


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
    problem: Problem
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
    problem = load(experiment, data_dir, shots)
    maml = build(experiment, problem.source, task_axis, jit, shots)
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
    if not is_tf1(path):
        return MAMLCheckpoints(folder, maml, experiment).restore(iteration), False
    if maml.step_sizes:
        raise UserError(
            f"checkpoint {path} is of the original code, which learns no step sizes: --learn_update_lr=False"
        )
    original_checkpoints.load(path, maml.model)
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
