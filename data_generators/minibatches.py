"""Minibatches for the joint classification of all classes of a split, and subsets of a split to draw them from.

The order of the images is a function of seed and iteration. Subsets are views: no image is copied.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from data_generators.episodes import EVALUATION_SEED, ClassImages
from data_generators.errors import UserError, listed
from data_generators.tasks import Tasks

# A constant, so that no --seed moves a class from the half on which settings are chosen to the half that is reported.
_HALVES_SEED = 1703

_STREAM = zlib.crc32(b"minibatches")  # different random numbers from those of tasks


def subset(data: ClassImages, classes: Sequence[int] | np.ndarray) -> ClassImages:
    """Selects some of the classes.

    Args:
        data: all classes.
        classes: positions of the classes to select, in the order of the result.
    """
    classes = np.asarray(classes, np.int64)
    names = tuple(data.names[i] for i in classes)
    return ClassImages(data.images, np.asarray(data.offsets)[classes], np.asarray(data.lengths)[classes], names)


def halves(data: ClassImages) -> tuple[ClassImages, ClassImages]:
    """Divides the classes into two halves, always the same; if their number is odd, the second has one more.

    The halves depend on the names of the classes only, not on the order in which they were read.
    """
    by_name = np.array(sorted(range(data.num_classes), key=data.names.__getitem__), np.int64)
    order = np.random.Generator(np.random.Philox(_HALVES_SEED)).permutation(by_name)
    middle = len(order) // 2
    return subset(data, order[:middle]), subset(data, order[middle:])


def hold_out(data: ClassImages, fraction: float) -> tuple[ClassImages, ClassImages]:
    """Divides every class: its first images are for training, its last ones (at least one) for evaluation.

    Args:
        data: the classes.
        fraction: fraction of the images of each class that is held out.

    Returns:
        (classes to train on, the same classes held out).

    Raises:
        UserError: the fraction is not between 0 and 1, or leaves a class without images to train on.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The fraction of each class that is held out must lie between 0 and 1, not at {fraction}.")
    lengths = np.asarray(data.lengths)
    held_out = np.maximum((lengths * fraction).astype(np.int64), 1)
    rest = lengths - held_out
    if rest.min() < 1:
        small = [data.names[i] for i in np.flatnonzero(rest < 1)]
        raise UserError(
            f"To hold some out, a class needs at least 2 images, and these have 1: {listed(small)}; add images to them "
            "or remove them."
        )
    train = dataclasses.replace(data, lengths=rest)
    return train, dataclasses.replace(data, offsets=np.asarray(data.offsets) + rest, lengths=held_out)


class Minibatches:
    """Images of all classes in random order, every image once per epoch.

    A minibatch consists of parts of equal size, which a step processes in parallel, as it does tasks. The labels are
    the positions of the classes, one-hot.

    Args:
        data: the classes.
        part_size: number of images in a part.

    Raises:
        UserError: there are fewer images than a part has.
    """

    def __init__(self, data: ClassImages, part_size: int):
        lengths, offsets = np.asarray(data.lengths), np.asarray(data.offsets)
        self._images = data.images
        self._num_classes = data.num_classes
        self._labels = np.repeat(np.arange(data.num_classes), lengths)
        first = np.cumsum(lengths) - lengths
        self._rows = np.arange(len(self._labels)) + (offsets - first)[self._labels]
        self._part_size = part_size
        self._order = (None, None)
        if self.num_images < part_size:
            raise UserError(
                f"{self.num_images} images are fewer than the {part_size} of one part of a minibatch: give a smaller "
                "--batch_size or add images."
            )

    @property
    def num_images(self) -> int:
        """Number of images of all classes together."""
        return len(self._labels)

    def sample(self, seed: int, iteration: int, num_parts: int) -> Tasks:
        """Draws the minibatch of an iteration; the images of an epoch that do not fill a minibatch are skipped.

        Args:
            seed: seed of the order.
            iteration: index of the minibatch, from 0.
            num_parts: number of parts of the minibatch.

        Returns:
            Tasks of float32 arrays: the parts are the support, [num_parts, part_size, height, width, channels] in
            [0, 1] and one-hot [num_parts, part_size, classes]; the query is empty.

        Raises:
            UserError: there are fewer images than a minibatch has.
        """
        size = num_parts * self._part_size
        if self.num_images < size:
            raise UserError(
                f"A minibatch of {size} images needs as many to train on, but there are {self.num_images}: give a "
                "smaller --batch_size or add images."
            )
        epoch, batch = divmod(iteration, self.num_images // size)
        x, y = self._take(self._shuffled(seed, epoch)[batch * size :][:size])
        return Tasks(x, y, x[:, :0], y[:, :0])

    def num_pairs(self) -> int:
        """Number of pairs of parts for `pairs`."""
        return self.num_images // (2 * self._part_size)

    def pairs(self, first: int, count: int) -> Tasks:
        """Returns pairs of parts of the images in a fixed order: one part is the support, the other the query.

        All pairs together hold every image once, except those that do not fill a pair. The order mixes the classes,
        because a part is normalised by its own statistics.

        Args:
            first: index of the first pair.
            count: number of pairs.
        """
        size = 2 * self._part_size
        x, y = self._take(self._shuffled(EVALUATION_SEED, 0)[first * size :][: count * size])
        return Tasks(x[::2], y[::2], x[1::2], y[1::2])

    def _shuffled(self, seed, epoch):
        if self._order[0] != (seed, epoch):
            random = np.random.Philox(key=np.array([seed, _STREAM], np.uint64), counter=[0, 0, 0, epoch])
            self._order = (seed, epoch), np.random.Generator(random).permutation(self.num_images)
        return self._order[1]

    def _take(self, chosen):
        """Returns images and one-hot labels, in parts."""
        images = self._images[self._rows[chosen]]
        x = np.divide(images, np.float32(255), dtype=np.float32).reshape(-1, self._part_size, *images.shape[1:])
        labels = self._labels[chosen].reshape(-1, self._part_size)
        return x, np.eye(self._num_classes, dtype=np.float32)[labels]
