"""Small classes of images that a network can tell apart: a random pattern for each class, under noise."""

import zlib

import numpy as np

from data_generators.episodes import ClassImages


def classes(names, per_class=20, side=16, noise=0.3, channels=3):
    """ClassImages [images, side, side, channels]; the same name gives the same images, whatever the other names are."""
    images = np.concatenate([_of_class(name, per_class, side, noise)[..., :channels] for name in names])
    lengths = np.full(len(names), per_class)
    return ClassImages(images, np.cumsum(lengths) - lengths, lengths, tuple(names))


def splits(per_class=20, **others):
    """Six training, six validation and three test classes; the arguments are those of `classes`."""
    sizes = {"train": 6, "val": 6, "test": 3}
    return {split: classes([f"{split}{i}" for i in range(size)], per_class, **others) for split, size in sizes.items()}


def _of_class(name, per_class, side, noise):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    pattern = np.kron(random.random((4, 4, 3)), np.ones((side // 4, side // 4, 1)))
    noisy = (1 - noise) * pattern + noise * random.random((per_class, side, side, 3))
    return (255 * noisy).astype(np.uint8)
