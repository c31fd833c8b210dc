import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.subsets import halves, hold_out, subset
from tests.data_generators.synthetic_classes import classes


def images_of(data, name):
    i = data.names.index(name)
    return data.images[data.offsets[i] : data.offsets[i] + data.lengths[i]]


def test_subset_keeps_the_images_of_its_classes():
    data = classes(["a", "b", "c"], per_class=2)
    found = subset(data, [2, 0])
    assert found.names == ("c", "a")
    assert found.images is data.images
    np.testing.assert_array_equal(images_of(found, "c"), images_of(data, "c"))
    np.testing.assert_array_equal(images_of(found, "a"), images_of(data, "a"))


def test_halves_are_disjoint_and_whole():
    data = classes([f"n{i:02d}" for i in range(16)], per_class=1)
    first, second = halves(data)
    assert (first.num_classes, second.num_classes) == (8, 8)
    assert sorted(first.names + second.names) == sorted(data.names)
    assert sorted(first.names) != sorted(data.names[:8])  # drawn, not cut
    assert [half.num_classes for half in halves(classes(list("abc"), 1))] == [1, 2]


def test_halves_do_not_depend_on_the_order_of_the_classes():
    names = [f"n{i:02d}" for i in range(16)]
    forwards, backwards = (halves(classes(order, 1)) for order in (names, names[::-1]))
    assert [half.names for half in forwards] == [half.names for half in backwards]


def test_held_out_are_the_last_images_of_every_class():
    data = classes(["a", "b"], per_class=10)
    train, held_out = hold_out(data, 0.25)
    assert (train.lengths.tolist(), held_out.lengths.tolist()) == ([8, 8], [2, 2])
    np.testing.assert_array_equal(images_of(train, "b"), images_of(data, "b")[:8])
    np.testing.assert_array_equal(images_of(held_out, "b"), images_of(data, "b")[8:])
    assert hold_out(data, 0.01)[1].lengths.tolist() == [1, 1]


def test_too_little_to_hold_out():
    with pytest.raises(UserError, match="needs at least 2 images, and these have 1: a; add images to them"):
        hold_out(classes(["a"], per_class=1), 0.5)
    for fraction in (0, 1, -1, float("nan")):
        with pytest.raises(UserError, match="must lie between 0 and 1"):
            hold_out(classes(["a"], per_class=4), fraction)
