"""From an Experiment to what it needs: a task source, evaluation tasks and a MAML with its network."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import keras

from data_generators.episodes import EVALUATION_SEED, Episodes
from data_generators.errors import UserError
from data_generators.omniglot import load_omniglot
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.experiment import EVALUATION_TASKS
from maml_tf.meta_learner import MAML, adam


class Problem(NamedTuple):
    """A task source, and its fixed evaluation tasks.

    source: has `sample(seed, split, iteration, num_tasks) -> Tasks`, `input_shape` and `output_size`.
    evaluation_tasks: function (split, first, count) -> Tasks of the fixed list of a split, "val" or "test".
    splits: the splits that there are.
    """

    source: Any
    evaluation_tasks: Any
    splits: tuple[str, ...]


def load(experiment, data_dir=None, shots=None):
    """Loads or makes the data of an experiment.

    Args:
        experiment: Experiment.
        data_dir: folder of the datasource's files; default data/<datasource>.
        shots: K, where it is not that of training.

    Raises:
        UserError: the data are missing or malformed, or too few for the ways and shots.
    """
    shots = shots or experiment.update_batch_size
    if experiment.datasource == "sinusoid":
        source = Sinusoid(shots, oracle=experiment.baseline == "oracle")
        return Problem(source, functools.partial(_sinusoids, source), ("train", "val", "test"))
    if experiment.datasource == "miniimagenet":
        raise UserError("miniImagenet cannot be read yet: choose --datasource=omniglot or sinusoid")
    data_dir = data_dir or Path("data", experiment.datasource)
    source = Episodes(load_omniglot(data_dir), experiment.num_classes, shots, shots, rotate=True)
    return Problem(source, functools.partial(source.episodes, EVALUATION_SEED), tuple(source.splits))


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
        optimizer=adam(experiment.meta_lr, clip=10.0 if experiment.datasource == "miniimagenet" else None),
        pretrain_optimizer=adam(experiment.meta_lr),
        task_axis=task_axis,
        jit=jit,
    )


def _network(experiment, input_shape, outputs):
    if experiment.is_regression:
        return networks.mlp(input_shape, outputs, (40, 40), experiment.norm)
    if not experiment.conv:
        return networks.mlp(input_shape, outputs, (256, 128, 64, 64), experiment.norm)
    flatten = experiment.datasource == "miniimagenet"
    return networks.conv4(input_shape, outputs, experiment.num_filters, experiment.norm, experiment.max_pool, flatten)


def _sinusoids(source, split, first, count):
    """The original's own test tasks; for validation, tasks of the same distribution."""
    if split == "test":
        tasks = source.test_tasks(first + count)
    else:
        tasks = source.sample(EVALUATION_SEED, split, 0, EVALUATION_TASKS)
    return Tasks(*(values[first : first + count] for values in tasks))
