"""Minibatches for classifying all classes of a split jointly, in an order that is a function of seed and iteration."""

import zlib

import numpy as np

from data_generators.episodes import EVALUATION_SEED, ClassImages
from data_generators.errors import UserError
from data_generators.tasks import Tasks

_STREAM = zlib.crc32(b"minibatches")


class Minibatches:
    """Images of all classes in random order, every image once per epoch.

    A minibatch comes in parts of equal size, which a step works on side by side as on tasks. The labels are the
    positions of the classes, one-hot.

    Args:
        data: the classes.
        part_size: images in a part.

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
        """Draws the minibatch of an iteration; what is left of an epoch after its last whole minibatch is skipped.

        Args:
            seed: of the order.
            iteration: from 0.
            num_parts: parts of the minibatch.

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
        """Number of pairs of parts that there are for `pairs`."""
        return self.num_images // (2 * self._part_size)

    def pairs(self, first: int, count: int) -> Tasks:
        """All images once, in a fixed order and in pairs of parts, one as support and one as query.

        The order mixes the classes, because a part is normalised by its own statistics. Fewer images than a pair has
        are left over.

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
        """Images and labels in parts."""
        images = self._images[self._rows[chosen]]
        x = np.divide(images, np.float32(255), dtype=np.float32).reshape(-1, self._part_size, *images.shape[1:])
        labels = self._labels[chosen].reshape(-1, self._part_size)
        return x, np.eye(self._num_classes, dtype=np.float32)[labels]
