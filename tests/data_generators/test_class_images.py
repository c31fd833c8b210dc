"""ClassImages that a user's own loader makes: each class has rows of its own, or a sentence says what is wrong."""

import dataclasses

import numpy as np
import pytest

from data_generators.episodes import ClassImages, Episodes
from data_generators.errors import UserError


def drawn(data):
    return Episodes({"train": data}, 5, 2, 3).sample(0, "train", 0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.arange(1, 61, 10)}, "rows 51 to 61 of the class f are not within its 60 images"),
        ({"offsets": -np.arange(0, 60, 10)}, "rows -10 to 0 of the class b are not within"),
        ({"lengths": np.full(6, 100)}, "rows 0 to 100 of the class a are not within"),
        ({"offsets": np.zeros(6, int)}, "the classes a and b share images: give each class rows of its own"),
        ({"offsets": np.arange(6) * 9, "lengths": np.full(6, 10)}, "the classes a and b share images"),
        ({"offsets": np.arange(6) * 10.0}, "offsets must be whole numbers, not float64"),
        ({"lengths": np.full(5, 10)}, r"one entry for each class, but have \(6,\), \(5,\) and 6"),
        ({"names": tuple("abcde")}, r"one entry for each class, but have \(6,\), \(6,\) and 5"),
        ({"names": tuple("abcdea")}, "two classes have the same name"),
        (
            {"images": np.zeros((60, 6, 6), np.uint8)},
            r"images must be \[images, height, width, channels\], not \[60, 6",
        ),
    ],
)
def test_rows_of_a_class_that_are_not_its_own_are_refused_before_a_task_is_drawn(change, message):
    """A loader of a user's own may count from 1, or forget to count: images would have several labels."""
    images = np.zeros((60, 6, 6, 1), np.uint8)
    data = ClassImages(images, np.arange(0, 60, 10), np.full(6, 10), tuple("abcdef"))
    with pytest.raises(UserError, match=f"ClassImages of the test split: .*{message}"):
        Episodes({"train": data, "test": dataclasses.replace(data, **change)}, 5, 1, 1)


def test_lists_are_taken_for_arrays():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 6, 6, 1), np.uint8)
    data = ClassImages(pixels, 8 * np.arange(6), np.full(6, 8), tuple("abcdef"))
    listed = dataclasses.replace(data, offsets=data.offsets.tolist(), lengths=data.lengths.tolist(), names=[*"abcdef"])
    for one, other in zip(drawn(listed), drawn(data), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError, match="float"):
        Episodes({"train": data}, 5, 2, 3).sample(0.5, "train", 0, 2)
