"""The data of one experiment: a task source, the fixed lists of evaluation tasks, and the splits of the data."""

import functools
import hashlib
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from data_generators.episodes import EVALUATION_SEED, ClassImages, Episodes
from data_generators.errors import UserError
from data_generators.tasks import Tasks, TaskSource
from maml_tf.supervised.datasets import EVALUATION_TASKS


class TaskData(NamedTuple):
    """A task source, and its fixed evaluation tasks.

    source: source of the tasks to train on.
    evaluation_tasks: function (split, first, count) -> Tasks of the fixed list of a split, "val" or "test", with K
        queries per class unless the test has another number; it raises UserError if the data have no such split.
    validation_tasks: function (first, count) -> Tasks of the fixed list for validation during training, with as many
        queries as training has.
    splits: the splits of the data.
    classes: the names of the classes of each split, for images by class.
    """

    source: TaskSource
    evaluation_tasks: Callable[[str, int, int], Tasks]
    validation_tasks: Callable[[int, int], Tasks]
    splits: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]] = {}

    def check_trainable(self) -> None:
        """Raises UserError unless there is a split to train on and one to validate on."""
        check_trainable(self.splits)

    def split_to_test(self, test_set: bool | None = None) -> str:
        """The split to test: "val" if test_set is False, or if it is None and there is no "test"; otherwise "test".

        Raises:
            UserError: the data have no such split.
        """
        split = "val" if test_set is False or (test_set is None and "test" not in self.splits) else "test"
        if split not in self.splits:
            raise UserError(_no_classes_of(split))
        return split

    def description(self) -> str | None:
        """Describes the training images by `describe`; None if there are none."""
        images = self.source.splits if isinstance(self.source, Episodes) else {}
        return describe(images["train"]) if "train" in images else None

    def fingerprint(self) -> bytes:
        """Returns a hash of sizes, some images and the first tasks: it identifies these data without reading all."""
        images = self.source.splits if isinstance(self.source, Episodes) else {}
        found = hashlib.sha256(repr(self.splits).encode() + fingerprint_of(images))
        tasks = [self.evaluation_tasks(split, 0, 1) for split in self.splits if split != "train"]
        tasks += [self.validation_tasks(0, 1)] if "val" in self.splits else []
        for values in tasks:
            found.update(b"".join(np.ascontiguousarray(value).tobytes() for value in values))
        return found.digest()


def describe(data: ClassImages) -> str:
    """Returns a line that differs for other classes, or for other numbers of their images."""
    contents = repr([*zip(data.names, np.asarray(data.lengths).tolist(), strict=True)]).encode()
    return f"{data.num_classes} classes, {int(np.sum(data.lengths))} images ({zlib.crc32(contents):08x})"


def fingerprint_of(splits: Mapping[str, ClassImages]) -> bytes:
    """Returns a hash of the classes, their sizes and up to 1000 images of each split: it identifies the images."""
    found = hashlib.sha256()
    for split, data in sorted(splits.items()):
        found.update(repr((split, data.images.shape, list(data.names))).encode() + data.lengths.tobytes())
        found.update(np.ascontiguousarray(data.images[:: 1 + len(data.images) // 1000]).tobytes())
    return found.digest()


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
    test_queries: int | None = None,
    test_ways: int | None = None,
    augment: bool = False,
) -> TaskData:
    """Makes N-way tasks from images by class.

    Args:
        splits: the classes of "train", "val" and "test", as far as these splits exist.
        ways: classes per task, N.
        training_shots: support images per class in training and its validation.
        shots: support images per class in a test, K.
        queries: query images per class in training and its validation; default, the shots of training.
        rotate: as for Episodes.
        test_queries: query images per class in a test; default, K.
        test_ways: classes per task in a test; default, N.
        augment: as for Episodes.

    Raises:
        UserError: there are too few classes or images.
    """
    flags = "--test_ways" if test_ways else "--num_classes", "--update_batch_size", "--test_queries"
    tested = _without("train", splits)
    source = tests = Episodes(tested, test_ways or ways, shots, test_queries or shots, rotate, flags)
    if "train" in splits:
        flags = "--num_classes", "--update_batch_size", "--queries"
        sizes = ways, training_shots, queries or training_shots
        source = Episodes(_without("test", splits), *sizes, rotate, flags, augment)
    validation_tasks = functools.partial(source.episodes, EVALUATION_SEED, "val")
    evaluation_tasks = functools.partial(_evaluation_tasks, tests)
    classes = {split: data.names for split, data in splits.items()}
    return TaskData(source, evaluation_tasks, validation_tasks, tuple(splits), classes)


def of_sinusoids(
    shots: int, oracle: bool = False, queries: int | None = None, test_queries: int | None = None
) -> TaskData:
    """Makes sinusoid tasks; test tasks are the original's own, and validation tasks are from the same distribution.

    Args:
        shots: points per task to adapt on, K.
        oracle: as for Sinusoid.
        queries: query points per task in training and its validation; default, K.
        test_queries: query points per task in a test; default, K.
    """
    from data_generators.sinusoid import Sinusoid  # not at the top, since it imports TensorFlow

    source, tests = (Sinusoid(shots, number, oracle) for number in (queries, test_queries))
    validation_tasks = functools.partial(_sinusoids, source, "val")
    drawn = functools.lru_cache(maxsize=1)(tests.test_tasks)  # it draws all tasks anew each time
    evaluation_tasks = functools.partial(_sinusoids, tests, drawn=drawn)
    return TaskData(source, evaluation_tasks, validation_tasks, ("train", "val", "test"))


def _without(split, splits):
    return {name: data for name, data in splits.items() if name != split}


def _evaluation_tasks(episodes, split, first, count):
    if split not in episodes.splits:
        raise UserError(_no_classes_of(split))
    return episodes.episodes(EVALUATION_SEED, split, first, count)


def _no_classes_of(split):
    return f"there are no classes of a {split} split: add them to the data, or change --test_set"


def _sinusoids(source, split, first, count, drawn=None):
    """Returns `count` tasks of a split, from `first` on; drawn: function (number of tasks) -> Tasks of the test."""
    if split == "test":
        number = EVALUATION_TASKS
        while number < first + count:  # doubled each time, so that a long list is drawn only a few times
            number *= 2
        tasks = drawn(number)
    else:  # tasks beyond the usual ones are those of the next meta-batches
        batch, first = divmod(first, EVALUATION_TASKS)
        batches = range(batch, batch - (-(first + count) // EVALUATION_TASKS))
        lists = [source.sample(EVALUATION_SEED, split, i, EVALUATION_TASKS) for i in batches]
        tasks = Tasks(*(np.concatenate(values) for values in zip(*lists, strict=True)))
    return Tasks(*(values[first : first + count] for values in tasks))
