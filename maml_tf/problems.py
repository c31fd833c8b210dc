"""From an Experiment to what it needs: a task source, evaluation tasks and a MAML with its network."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import keras

from data_generators.episodes import EVALUATION_SEED, Episodes
from data_generators.errors import UserError
from data_generators.image_folder import load_image_folder
from data_generators.miniimagenet import load_miniimagenet
from data_generators.omniglot import load_omniglot
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.experiment import EVALUATION_TASKS
from maml_tf.meta_learner import MAML, adam

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
        loss, accuracy = functools.partial(losses.softmax_cross_entropy, shots=shots), losses.accuracy
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
