"""Episodes from images whose pixels tell their class, their index within it, and how they were turned."""

import dataclasses
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from data_generators.episodes import EVALUATION_SEED, ClassImages, Episodes
from data_generators.errors import UserError
from maml_tf.supervised.task_data import of_images

SIDE = 6
PATTERN = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)


def class_images(lengths, side=SIDE) -> ClassImages:
    """Images whose channels are the class, the index within the class, and a pattern that shows any turn."""
    lengths = np.asarray(lengths)
    images = np.zeros([lengths.sum(), side, side, 3], np.uint8)
    images[..., 0] = np.repeat(np.arange(len(lengths)), lengths)[:, None, None]
    images[..., 1] = np.concatenate([np.arange(length) for length in lengths])[:, None, None]
    images[..., 2] = np.arange(side * side).reshape(side, side)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return ClassImages(images, offsets, lengths, tuple(f"class{i}" for i in range(len(lengths))))


def episodes(lengths=(8,) * 12, ways=5, shots=2, queries=3, rotate=True) -> Episodes:
    data = class_images(lengths)
    return Episodes({"train": data, "test": data}, ways, shots, queries, rotate)


def planes(images):
    """The class and the index [tasks, rows], and the pattern [tasks, rows, side, side], of float images."""
    pixels = np.rint(images * 255).astype(int)
    assert (pixels[..., :2] == pixels[:, :, :1, :1, :2]).all()
    return pixels[:, :, 0, 0, 0], pixels[:, :, 0, 0, 1], pixels[..., 2]


def turns(pattern) -> int:
    """How often Pillow must rotate the pattern by 90 degrees counter-clockwise to get this one."""
    matches = [k for k in range(4) if np.array_equal(np.asarray(Image.fromarray(PATTERN).rotate(90 * k)), pattern)]
    assert len(matches) == 1
    return matches[0]


def both(tasks):
    x = np.concatenate([tasks.support_x, tasks.query_x], axis=1)
    return x, np.concatenate([tasks.support_y, tasks.query_y], axis=1)


def same(tasks, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(tasks, others, strict=True))


def test_shapes_types_and_values():
    data = episodes()
    tasks = data.sample(0, "train", 0, 4)
    assert tasks.support_x.shape == (4, 10, SIDE, SIDE, 3)
    assert tasks.support_y.shape == (4, 10, 5)
    assert tasks.query_x.shape == (4, 15, SIDE, SIDE, 3)
    assert tasks.query_y.shape == (4, 15, 5)
    assert all(array.dtype == np.float32 for array in tasks)
    assert (data.input_shape, data.output_size) == ((SIDE, SIDE, 3), 5)
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    data = ClassImages(levels, np.array([0, 2]), np.array([2, 2]), ("a", "b"))
    x, _ = both(Episodes({"train": data}, 2, 1, 1).sample(0, "train", 0, 1))
    assert set(x.ravel()) == set(np.arange(256, dtype=np.float32) / np.float32(255))


def test_rows_are_shot_major_with_a_new_permutation_of_the_classes_for_every_shot():
    _, y = both(episodes().sample(0, "train", 0, 200))
    assert set(np.unique(y)) == {0, 1}
    assert (y.sum(-1) == 1).all()
    labels = y.argmax(-1).reshape(200, 5, 5)  # [tasks, shots and queries, ways]
    assert (np.sort(labels, axis=-1) == np.arange(5)).all()
    orders = Counter(map(tuple, labels.reshape(-1, 5)))
    assert len(orders) == 120  # all permutations occur: 1000 draws, 8.3 expected of each
    assert max(orders.values()) < 25
    assert (labels[:, 0] != labels[:, 1]).any(-1).mean() > 0.95


def test_a_label_names_one_class_and_a_task_has_ways_different_classes():
    x, y = both(episodes().sample(0, "train", 0, 100))
    classes, _, _ = planes(x)
    for task in range(100):
        pairs = set(zip(y[task].argmax(-1), classes[task], strict=True))
        assert len(pairs) == len({label for label, _ in pairs}) == len({name for _, name in pairs}) == 5


def test_support_and_query_share_no_image():
    x, _ = both(episodes(lengths=(5,) * 6).sample(0, "train", 0, 100))  # 5 drawn of 5: the narrowest case
    classes, index, _ = planes(x)
    for task in range(100):
        assert len(set(zip(classes[task], index[task], strict=True))) == 25


def test_every_class_position_and_image_is_equally_likely():
    x, y = both(episodes(lengths=(4,) * 7, ways=3, shots=1, queries=1).sample(1, "train", 0, 6000))
    classes, index, _ = planes(x)
    table = np.zeros([3, 7, 2, 4])  # label, class, shot, image
    shot = np.broadcast_to(np.arange(6) // 3, classes.shape)
    np.add.at(table, (y.argmax(-1), classes, shot, index), 1)
    expected = 6000 / 28
    assert np.abs(table - expected).max() < 5.5 * np.sqrt(expected)
    pairs = Counter(frozenset(row) for row in classes[:, :3])
    assert len(pairs) == 35
    assert max(abs(count - 6000 / 35) for count in pairs.values()) < 5 * np.sqrt(6000 / 35)


def test_rotation_is_counter_clockwise_constant_per_class_and_task_and_uniform():
    x, _ = both(episodes(ways=3, shots=1, queries=2).sample(0, "train", 0, 300))
    classes, _, patterns = planes(x)
    counts = Counter()
    different = 0
    for task in range(300):
        turned = {}
        for name, pattern in zip(classes[task], patterns[task], strict=True):
            turned.setdefault(name, set()).add(turns(pattern))
        assert all(len(found) == 1 for found in turned.values())
        counts.update(k for found in turned.values() for k in found)
        different += len({min(found) for found in turned.values()}) > 1
    assert min(counts.values()) > 175  # 225 expected of each
    assert len(counts) == 4
    assert different > 250  # of 300; 281 expected


def test_without_rotation_images_stay_as_they_are():
    x, _ = both(episodes(rotate=False).sample(0, "train", 0, 20))
    assert (planes(x)[2] == PATTERN).all()


def test_classes_with_differing_numbers_of_images_in_any_place():
    whole = class_images([9, 4, 7, 5])
    part = ClassImages(whole.images, whole.offsets[[2, 1]], whole.lengths[[2, 1]], ("class2", "class1"))
    x, _ = both(Episodes({"val": part}, 2, 1, 3).sample(0, "val", 0, 300))
    classes, index, _ = planes(x)
    assert {name: set(index[classes == name]) for name in np.unique(classes)} == {2: set(range(7)), 1: set(range(4))}


def test_task_list_does_not_depend_on_how_it_is_cut():
    data = episodes()
    whole = data.episodes(EVALUATION_SEED, "test", 0, 60)
    for size in (1, 7, 60):
        cut = [data.episodes(EVALUATION_SEED, "test", i, min(size, 60 - i)) for i in range(0, 60, size)]
        assert same(whole, [np.concatenate(arrays) for arrays in zip(*cut, strict=True)])
    batches = [data.sample(EVALUATION_SEED, "test", i, 20) for i in range(3)]
    assert same(whole, [np.concatenate(arrays) for arrays in zip(*batches, strict=True)])


def test_tasks_differ_by_seed_split_and_index_only():
    data = episodes()
    assert same(data.sample(3, "train", 7, 4), episodes().sample(3, "train", 7, 4))
    arguments = [(seed, split, i) for seed in (-1, 0, 1, 2**40) for split in ("train", "test") for i in (0, 1, 10**12)]
    assert len({both(data.sample(*each, 4))[0].tobytes() for each in arguments}) == len(arguments)
    x, _ = both(data.sample(0, "train", 0, 500))
    assert len({task.tobytes() for task in x}) == 500


def test_evaluation_tasks_never_change():
    x, y = both(episodes(shots=1, queries=1).episodes(EVALUATION_SEED, "test", 599, 1))
    classes, index, patterns = planes(x)
    assert classes[0].tolist() == [0, 4, 2, 9, 11, 0, 9, 2, 4, 11]
    assert index[0].tolist() == [5, 1, 1, 4, 6, 2, 3, 7, 3, 0]
    assert y[0].argmax(-1).tolist() == [0, 3, 1, 4, 2, 0, 4, 1, 3, 2]
    assert [turns(pattern) for pattern in patterns[0]] == [0, 3, 2, 3, 0, 0, 3, 2, 3, 0]


def test_queries_may_differ_by_split():
    data = class_images([20] * 5)
    tasks = Episodes({"train": data, "test": data}, 5, 1, {"train": 15, "test": 1})
    assert tasks.sample(0, "train", 0, 2).query_x.shape[1] == 75
    assert tasks.sample(0, "test", 0, 2).query_x.shape[1] == 5


def test_memory_mapped_images(tmp_path):
    data = class_images([8] * 12)
    np.save(tmp_path / "images.npy", data.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    lazily = ClassImages(mapped, data.offsets, data.lengths, data.names)
    tasks = [Episodes({"train": each}, 5, 2, 3, rotate=True).sample(0, "train", 0, 3) for each in (data, lazily)]
    assert same(*tasks)
    assert np.array_equal(mapped, data.images)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((13, 1, 1), "A 13-way task needs 13 classes, but the train split has 12: give a smaller ways or add"),
        (
            (5, 4, 5),
            "4 support and 5 query images per class need 9 images, but 12 classes have fewer: class0 of the ",
        ),
        ((0, 1, 1), "number of ways must be at least 1, not 0"),
        ((5, 0, 1), "number of shots must be at least 1, not 0"),
        ((5, 1, -2), "number of query images per class must be at least 1, not -2"),
    ],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(UserError, match=message):
        Episodes({"train": class_images([8] * 12)}, *sizes)


def test_every_split_is_checked_and_all_short_classes_are_counted_and_ten_of_them_named():
    with pytest.raises(UserError, match="the test split has 1: add classes"):
        Episodes({"train": class_images([8, 8]), "test": class_images([8])}, 2, 2, 2)
    train, val = class_images([16, 15, 16, 14]), class_images([1] * 20 + [16, 16])
    with pytest.raises(UserError) as error:
        Episodes({"train": train, "val": val}, 2, 1, 15)
    names = ", ".join(f"class{i} of the val split (1)" for i in range(8))
    assert str(error.value) == (
        "1 support and 15 query images per class need 16 images, but 22 classes have fewer: class1 of the train split "
        f"(15), class3 of the train split (14), {names} and 12 more; add images, or remove these classes."
    )
    with pytest.raises(
        UserError, match=r"need 9 images, but 1 class has fewer: class1 of the val split \(8\); add images"
    ):
        Episodes({"train": class_images([2, 2]), "val": class_images([9, 8])}, 2, 1, {"train": 1, "val": 8})


@pytest.mark.parametrize(
    ("shortest", "shots", "queries", "advice"),
    [
        (1, 1, 1, ", or remove these classes."),  # no number of shots or queries would do
        (
            15,
            1,
            15,
            ", or remove these classes, or use fewer shots or queries (--shots, --queries); --queries=14 would do.",
        ),
        (15, 20, 15, ", or use fewer shots or queries (--shots, --queries)."),  # no image would be left for queries
    ],
)
def test_only_what_helps_is_advised(shortest, shots, queries, advice):
    flags = "--ways", "--shots", "--queries"
    with pytest.raises(UserError) as error:
        Episodes({"train": class_images([shortest, 30, 30])}, 2, shots, queries, flags=flags)
    assert str(error.value).endswith(f"; add images{advice}")


def test_the_advice_names_the_arguments_or_the_flags_of_a_command():
    images = {"train": class_images([3, 30])}
    with pytest.raises(UserError, match=r"use fewer shots or queries \(shots, queries\)"):
        Episodes(images, 2, 5, 5)
    with pytest.raises(UserError, match="give a smaller ways or add classes"):
        Episodes(images, 3, 1, 1)
    with pytest.raises(UserError, match=r"use fewer shots or queries \(--update_batch_size, --queries\)"):
        of_images({"train": images["train"], "val": class_images([30] * 5)}, 2, 5, 5)
    with pytest.raises(UserError, match="give a smaller --num_classes or add classes"):
        of_images({"train": images["train"], "val": class_images([30] * 5)}, 3, 1, 1)
    with pytest.raises(UserError, match="give a smaller --test_ways or add classes"):
        Episodes(images, 3, 1, 1, flags=("--test_ways", "--update_batch_size", "--test_queries"))


def test_only_square_images_can_be_rotated():
    images = np.zeros([4, 6, 8, 3], np.uint8)
    data = ClassImages(images, np.array([0, 2]), np.array([2, 2]), ("a", "b"))
    with pytest.raises(UserError, match="those of the train split are 6x8"):
        Episodes({"train": data}, 2, 1, 1, rotate=True)
    assert Episodes({"train": data}, 2, 1, 1).sample(0, "train", 0, 1).support_x.shape == (1, 2, 6, 8, 3)


def test_image_data_need_no_tensorflow():
    code = "import sys, data_generators.omniglot, data_generators.prefetch; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_images_that_are_not_uint8_are_refused():
    data = class_images([8] * 6)
    message = r"must be uint8, from 0 to 255, and those of the train split are .*: convert"
    for images in (data.images / 255, data.images.astype(np.float32), data.images.astype(int)):
        with pytest.raises(UserError, match=message):
            Episodes({"train": dataclasses.replace(data, images=images)}, 5, 2, 3)


def test_queries_by_split_are_given_for_each():
    data = class_images([8] * 6)
    with pytest.raises(UserError, match="queries has no number for the split 'val': give one for each split"):
        Episodes({"train": data, "val": data}, 5, 2, {"train": 3})


def test_seeds_of_numpy_are_numbers():
    for seed in (3, 2**63 + 1):
        assert same(episodes().sample(np.uint64(seed), "train", 0, 2), episodes().sample(seed, "train", 0, 2))
    assert same(episodes().sample(np.int64(-3), "train", 0, 2), episodes().sample(-3, "train", 0, 2))


def test_sizes_of_numpy_are_numbers_and_others_are_refused():
    data = class_images([8] * 30)
    small = [np.uint8(20), np.uint8(3), np.uint8(5)]
    drawn, expected = (Episodes({"train": data}, *sizes).sample(0, "train", 0, 2) for sizes in (small, [20, 3, 5]))
    assert same(drawn, expected)
    with pytest.raises(UserError, match=r"The number of shots must be an integer, not 1\.0"):
        Episodes({"train": data}, 5, 1.0, 1)
