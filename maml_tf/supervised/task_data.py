"""The data of one experiment: a task source, the fixed lists of evaluation tasks, and the splits that there are."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from data_generators.episodes import EVALUATION_SEED, ClassImages, Episodes
from data_generators.errors import UserError
from data_generators.tasks import Tasks, TaskSource
from maml_tf.supervised.datasets import EVALUATION_TASKS


class TaskData(NamedTuple):
    """A task source, and its fixed evaluation tasks.

    source: of the tasks to train on.
    evaluation_tasks: function (split, first, count) -> Tasks of the fixed list of a split, "val" or "test", with K
        queries per class; UserError if the data have no such split.
    validation_tasks: function (first, count) -> Tasks of the fixed list for validation during training, with as many
        queries as training has.
    splits: the splits that there are.
    """

    source: TaskSource
    evaluation_tasks: Callable[[str, int, int], Tasks]
    validation_tasks: Callable[[int, int], Tasks]
    splits: tuple[str, ...]

    def check_trainable(self) -> None:
        """Raises UserError unless there is a split to train on and one to validate on."""
        check_trainable(self.splits)

    def split_to_test(self, test_set: bool | None = None) -> str:
        """The split that a test takes: "test", or "val" if test_set is False, or None and there is no other.

        Raises:
            UserError: the data have no such split.
        """
        split = "val" if test_set is False or (test_set is None and "test" not in self.splits) else "test"
        if split not in self.splits:
            raise UserError(_no_classes_of(split))
        return split


def check_trainable(splits: Collection[str]) -> None:
    """Raises UserError unless there is a split to train on and one to validate on."""
    for split in ("train", "val"):
        if split not in splits:
            there = " and ".join(splits)
            raise UserError(f"training needs the splits train and val, but the data have only {there}")


def of_images(
    splits: Mapping[str, ClassImages],
    ways: int,
    training_shots: int,
    shots: int,
    queries: int | None = None,
    rotate: bool = False,
) -> TaskData:
    """N-way tasks from images by class; those of a test have as many queries per class as shots.

    Args:
        splits: the classes of "train", "val" and "test", where they are there.
        ways: classes per task, N.
        training_shots: support images per class in training and its validation.
        shots: the same in a test, K.
        queries: query images per class in training and its validation; default, the shots of training.
        rotate: as for Episodes.

    Raises:
        UserError: there are too few classes or images.
    """
    source = tests = Episodes(_without("train", splits), ways, shots, shots, rotate)
    if "train" in splits:
        source = Episodes(_without("test", splits), ways, training_shots, queries or training_shots, rotate)
    validation_tasks = functools.partial(source.episodes, EVALUATION_SEED, "val")
    return TaskData(source, functools.partial(_evaluation_tasks, tests), validation_tasks, tuple(splits))


def of_sinusoids(shots: int, oracle: bool = False) -> TaskData:
    """Sinusoids; the test tasks are the original's own, those of validation are of the same distribution.

    Args:
        shots: points per task to adapt on, K.
        oracle: as for Sinusoid.
    """
    from data_generators.sinusoid import Sinusoid  # which imports TensorFlow

    source = Sinusoid(shots, oracle=oracle)
    evaluation_tasks = functools.partial(_sinusoids, source)
    return TaskData(source, evaluation_tasks, functools.partial(evaluation_tasks, "val"), ("train", "val", "test"))


def _without(split, splits):
    return {name: data for name, data in splits.items() if name != split}


def _evaluation_tasks(episodes, split, first, count):
    if split not in episodes.splits:
        raise UserError(_no_classes_of(split))
    return episodes.episodes(EVALUATION_SEED, split, first, count)


def _no_classes_of(split):
    return f"there are no classes of a {split} split: add them to the data, or change --test_set"


def _sinusoids(source, split, first, count):
    if split == "test":
        tasks = source.test_tasks(first + count)
    else:
        tasks = source.sample(EVALUATION_SEED, split, 0, EVALUATION_TASKS)
    return Tasks(*(values[first : first + count] for values in tasks))
