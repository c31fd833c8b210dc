"""Parts of class-grouped images: halves of the classes, and a part of every class held out. No image is copied."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_generators.episodes import ClassImages
from data_generators.errors import UserError, listed

# A constant, so that no --seed moves a class from the half on which settings are chosen to the half that is reported.
_HALVES_SEED = 1703


def subset(data: ClassImages, classes: Sequence[int]) -> ClassImages:
    """Some of the classes.

    Args:
        data: all of them.
        classes: positions of those wanted, in the order wanted.
    """
    classes = np.asarray(classes, np.int64)
    names = tuple(data.names[i] for i in classes)
    return ClassImages(data.images, np.asarray(data.offsets)[classes], np.asarray(data.lengths)[classes], names)


def halves(data: ClassImages) -> tuple[ClassImages, ClassImages]:
    """Two halves of the classes, always the same; where their number is odd, the second has one more.

    The halves depend on the names of the classes only, not on the order in which they were read.
    """
    by_name = np.array(sorted(range(data.num_classes), key=data.names.__getitem__), np.int64)
    order = np.random.Generator(np.random.Philox(_HALVES_SEED)).permutation(by_name)
    middle = len(order) // 2
    return subset(data, order[:middle]), subset(data, order[middle:])


def hold_out(data: ClassImages, fraction: float) -> tuple[ClassImages, ClassImages]:
    """Divides every class: its first images to train on, and its last ones, at least one, to judge by.

    Args:
        data: the classes.
        fraction: of the images of each class that is held out.

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
