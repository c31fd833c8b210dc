import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.minibatches import Minibatches, halves, hold_out, subset
from tests.data_generators.synthetic_classes import classes

NAMES = ["a", "b", "c"]


def index_by_image(data):
    """{pixels: class} of every image."""
    rows = [range(offset, offset + length) for offset, length in zip(data.offsets, data.lengths, strict=True)]
    return {(data.images[row] / np.float32(255)).tobytes(): i for i, of_class in enumerate(rows) for row in of_class}


def flat(tasks):
    images = tasks.support_x.reshape(-1, *tasks.support_x.shape[2:])
    return [image.tobytes() for image in images], tasks.support_y.reshape(-1, tasks.support_y.shape[-1])


def test_an_epoch_has_every_image_once_with_its_label():
    # The classes are in another order than in the array and lack images, so that rows cannot be mistaken for offsets.
    data, _ = hold_out(subset(classes(["z", *NAMES], per_class=8), [3, 1, 2]), 0.25)
    known = index_by_image(data)
    assert len(known) == 18
    minibatches = Minibatches(data, 3)
    seen = []
    for iteration in range(3):
        tasks = minibatches.sample(7, iteration, 2)
        assert tasks.support_x.shape == (2, 3, 16, 16, 3)
        assert tasks.query_x.shape[:2] == tasks.query_y.shape[:2] == (2, 0)
        assert tasks.support_x.dtype == tasks.support_y.dtype == np.float32
        images, labels = flat(tasks)
        assert [known[image] for image in images] == labels.argmax(-1).tolist()
        assert (labels.sum(-1) == 1).all()
        seen += images
    assert sorted(seen) == sorted(known)


def test_order_is_a_function_of_seed_and_iteration():
    def drawn(seed, iteration):
        return Minibatches(classes(NAMES, 8), 2).sample(seed, iteration, 2).support_x

    used = Minibatches(classes(NAMES, 8), 2)
    for iteration in (9, 0, 7, 8):
        np.testing.assert_array_equal(used.sample(1, iteration, 2).support_x, drawn(1, iteration))
    assert not np.array_equal(drawn(1, 0), drawn(2, 0))
    assert not np.array_equal(drawn(1, 0), drawn(1, 6))  # the first iteration of the next epoch


def test_pairs_have_every_image_once_and_mix_the_classes():
    data = classes(NAMES, 8)
    minibatches = Minibatches(data, 4)
    assert minibatches.num_pairs() == 3
    tasks = minibatches.pairs(0, 3)
    x = np.concatenate([tasks.support_x, tasks.query_x]).reshape(-1, 16, 16, 3)
    assert sorted(image.tobytes() for image in x) == sorted(index_by_image(data))
    for labels in np.concatenate([tasks.support_y, tasks.query_y]):
        assert len(set(labels.argmax(-1))) > 1
    np.testing.assert_array_equal(minibatches.pairs(1, 2).query_x, tasks.query_x[1:])


def test_too_few_images():
    with pytest.raises(
        UserError, match=r"2 images are fewer than the 4 of one part .*: give a smaller --batch_size or add"
    ):
        Minibatches(classes(["a"], 2), 4)
    with pytest.raises(UserError, match="A minibatch of 8 images needs as many to train on, but there are 6"):
        Minibatches(classes(NAMES, 2), 4).sample(0, 0, 2)


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
    assert sorted(first.names) != sorted(data.names[:8])  # drawn at random, not the first half
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
