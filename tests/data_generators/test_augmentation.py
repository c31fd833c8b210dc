"""Augmented images of training tasks, and the moments of pixels."""

import numpy as np
import pytest

from data_generators.episodes import ClassImages, Episodes
from tests.data_generators.synthetic_classes import splits

DATA = splits()


def drawn(split, first, num_tasks, augment=True, data=DATA, seed=0):
    return Episodes(data, 2, 1, 3, augment=augment).episodes(seed, split, first, num_tasks)


def equal(some, others):
    return all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


def numbered(side):
    """A training split of one class: two copies of an image whose pixels all differ."""
    image = np.arange(1, side * side + 1, dtype=np.uint8).reshape(1, side, side, 1)
    one = np.array([0]), np.array([2])
    return {"train": ClassImages(np.concatenate([image, image]), *one, ("a",))}


def test_any_cut_of_a_list_gives_the_same_augmented_tasks():
    whole = drawn("train", 0, 7)
    for first, count in ((0, 7), (2, 3), (6, 1)):
        assert equal([values[first : first + count] for values in whole], drawn("train", first, count))
    assert not equal(whole, drawn("train", 0, 7, seed=1))


def test_only_training_tasks_are_augmented_and_their_labels_stay():
    for split in ("val", "test"):
        assert equal(drawn(split, 0, 5), drawn(split, 0, 5, augment=False))
    plain, augmented = drawn("train", 0, 5, augment=False), drawn("train", 0, 5)
    assert equal(plain[1::2], augmented[1::2])
    assert not np.array_equal(plain.support_x, augmented.support_x)


@pytest.mark.parametrize(("side", "padding"), [(8, 2), (32, 4), (84, 8)])
def test_an_image_is_mirrored_or_not_and_moved_by_at_most_the_padding(side, padding):
    episodes = Episodes(numbered(side), 1, 1, 1, augment=True)
    x = np.rint(255 * episodes.episodes(0, "train", 0, 400).support_x[:, 0, ..., 0]).astype(np.uint8)
    image = numbered(side)["train"].images[0, ..., 0]
    places = range(2 * padding + 1)
    padded = [np.pad(i, padding) for i in (image, image[:, ::-1])]
    possible = {
        p[top : top + side, left : left + side].tobytes(): (flip, top, left)
        for flip, p in enumerate(padded)
        for top in places
        for left in places
    }
    found = np.array([possible[one.tobytes()] for one in x])
    assert abs(found[:, 0].mean() - 0.5) < 0.1
    for axis in (1, 2):
        counts = np.bincount(found[:, axis], minlength=len(places))
        assert counts.min() > 0
        assert counts.max() < 3 * 400 / len(places)


def test_moments_of_pixels_are_numpy_s():
    images, offsets = DATA["train"].images, np.array([20, 60])
    some = ClassImages(images, offsets, np.array([20, 7]), ("a", "b"))
    pixels = np.concatenate([images[20:40], images[60:67]]).reshape(-1, 3) / 255
    mean, deviation = some.pixel_moments()
    assert mean == pytest.approx(pixels.mean(0), rel=1e-12)
    assert deviation == pytest.approx(pixels.std(0), rel=1e-12)
    constant = ClassImages(np.full((3, 2, 2, 1), 7, np.uint8), np.array([0]), np.array([3]), ("a",))
    assert constant.pixel_moments() == ([7 / 255], [0.0])
