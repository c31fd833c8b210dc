"""Arrays and data sets of TensorFlow as classes of images."""

import numpy as np
import pytest
import tensorflow as tf

from data_generators import arrays
from data_generators.arrays import from_arrays, from_tf_dataset
from data_generators.episodes import Episodes
from data_generators.errors import UserError
from tests.data_generators.synthetic_images import of_class

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.permutation(np.repeat(np.arange(10), 6))
IMAGES = GENERATOR.integers(0, 256, (60, 8, 6, 3), np.uint8)
SPLITS = {"train": [7, 1, 2, 3], "val": [4, 5], "test": [8, 9]}
NAMES = [f"class {i}" for i in range(10)]


def assert_grouped(splits, images=IMAGES, labels=LABELS, names=str):
    for split, classes in SPLITS.items():
        assert splits[split].names == tuple(names(label) for label in classes)
        for label in classes:
            assert np.array_equal(of_class(splits[split], names(label)), images[labels == label])
    assert list(splits) == list(SPLITS)


def test_images_are_grouped_by_class_and_split():
    splits = from_arrays(IMAGES, LABELS, SPLITS)
    assert_grouped(splits)
    assert splits["train"].images is splits["test"].images
    assert_grouped(from_arrays(IMAGES, LABELS[:, None], {split: np.array(s) for split, s in SPLITS.items()}))
    tasks = Episodes(splits, 2, 1, 3).sample(0, "train", 0, 4)
    assert tasks.query_x.shape == (4, 6, 8, 6, 3)


def test_classes_may_be_listed_by_name():
    by_name = {split: [NAMES[label] for label in labels] for split, labels in SPLITS.items()}
    for splits in (SPLITS, by_name):
        assert_grouped(from_arrays(IMAGES, LABELS, splits, NAMES), names=NAMES.__getitem__)
    texts = np.array(NAMES)[LABELS]
    for labels in (texts, texts.astype(bytes), texts.astype(object)):
        assert_grouped(from_arrays(IMAGES, labels, by_name), names=NAMES.__getitem__)


def test_sorted_images_are_not_copied():
    order = np.argsort(LABELS)
    images = IMAGES[order]
    assert from_arrays(images, LABELS[order], SPLITS)["val"].images is images


def test_shares_split_the_classes_by_a_fixed_seed():
    splits = from_arrays(IMAGES, LABELS, (0.6, 0.2, 0.2))
    assert {split: data.num_classes for split, data in splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert sorted(name for data in splits.values() for name in data.names) == [str(i) for i in range(10)]
    again = from_arrays(IMAGES[::-1], LABELS[::-1], [0.6, 0.2, 0.2])
    assert [data.names for data in again.values()] == [data.names for data in splits.values()]
    assert list(from_arrays(IMAGES, LABELS, (0.5, 0.5))) == ["train", "val"]


@pytest.mark.parametrize(
    "images",
    [
        IMAGES.astype(np.int64),
        IMAGES.astype(np.float32),
        IMAGES / 255,
        IMAGES.astype(np.float32) / 255,
        IMAGES.astype(np.float32) * np.float32(1 / 255),
        (IMAGES / 255).astype(np.float16),
    ],
)
def test_what_stands_for_uint8_becomes_it(images):
    assert_grouped(from_arrays(images, LABELS, SPLITS))


def test_a_number_that_is_none_is_found_wherever_it_stands(monkeypatch):
    monkeypatch.setattr(arrays, "_CHUNK", 4)
    images = IMAGES.astype(np.float32)
    images[-1, -1, -1, -1] = np.nan
    with pytest.raises(UserError, match="range from nan to nan"):
        from_arrays(images, LABELS, SPLITS)


def test_grey_images_need_no_channel():
    splits = from_arrays(IMAGES[..., 0], LABELS, SPLITS)
    assert_grouped(splits, IMAGES[..., :1])
    binary = (IMAGES[..., 0] > 127).astype(np.float32)
    for images in binary, binary.astype(bool):
        assert_grouped(from_arrays(images, LABELS, SPLITS), (255 * binary[..., None]).astype(np.uint8))


CHANGED = {"images": IMAGES, "labels": LABELS, "splits": SPLITS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES / 256}, "floats from 0 to 1 that are no k / 255, and would change"),
        ({"images": IMAGES / 255 * 2 - 1}, "from 0 to 255, or from 0 to 1, but range from -1.0 to 1.0"),
        (
            {"images": (IMAGES > 127).astype(np.uint8)},
            "whole numbers from 0 to 1, where 255 is white: multiply",
        ),
        (
            {"images": (IMAGES > 127).astype(np.int64)},
            "whole numbers from 0 to 1, where 255 is white: multiply",
        ),
        ({"images": IMAGES / 2}, "images are not whole numbers from 0 to 255"),
        ({"images": IMAGES.astype(int) - 1}, "or from 0 to 1, but range from -1 to 254"),
        ({"images": IMAGES.astype(int) * 2}, "or from 0 to 1, but range from 0 to 510"),
        ({"images": np.where(IMAGES < 9, np.nan, IMAGES)}, "or from 0 to 1, but range from nan to nan"),
        ({"images": np.zeros((60, 3, 8, 8), np.uint8)}, "channels before height and width: give images.transpose(0, 2"),
        ({"images": [np.zeros((4 + i % 2, 6, 3), np.uint8) for i in LABELS]}, "images differ in size"),
        ({"splits": None}, "splits must be lists of labels by split, or shares, not None"),
        ({"splits": {"train": 1}}, "splits must have a list of labels for train, not 1"),
        ({"splits": {"train": "12"}}, "splits must have a list of labels for train, not '12'"),
        ({"splits": ("a", "b")}, "or shares, not ('a', 'b')"),
        ({"images": IMAGES.astype(str)}, "images must be numbers from 0 to 255, or from 0 to 1, not <U3"),
        ({"images": IMAGES[0, 0]}, "images must be [images, height, width, channels], but are [6, 3]"),
        ({"images": IMAGES[:59]}, "there are 59 images, but 60 labels"),
        (
            {"labels": np.eye(10)[LABELS]},
            "labels must be one class for each image, whole numbers or text, not float64 [60, 10]",
        ),
        ({"splits": {"train": [1], "val": [2, 1]}}, "class 1 is listed twice, in train and val"),
        ({"splits": {"train": [1, 1]}}, "class 1 is listed twice, in train: "),
        ({"splits": {"train": ["1", 1]}}, "class 1 is listed twice"),
        ({"splits": {"train": [1], "val": []}}, "the split val has no class"),
        ({"splits": {"train": [1, 10, 77]}}, "no image has the label 10, 77, which splits lists"),
        ({"splits": {"training": [1]}}, "splits must be train, val and test, not 'training'"),
        ({"splits": {}}, "splits must be train, val and test, not none"),
        ({"splits": (0.5, 0.4)}, "shares of train, val and test must be positive and sum to 1"),
        ({"splits": (0.98, 0.01, 0.01)}, "the split val has no class: list some, give another share"),
        ({"names": NAMES[:5]}, "names has no name for the label 5: name all"),
        ({"names": NAMES, "labels": LABELS - 1}, "names has no name for the label -1: name all"),
        ({"names": ["same"] * 10}, "names has a name twice"),
        ({"images": np.zeros((60, 3, 32, 24), np.uint8)}, "channels before height and width: give images.transpose"),
        ({"images": np.zeros((60, 1, 64, 100), np.uint8)}, "channels before height and width: give images.transpose"),
        ({"labels": [None, *"ab" * 29, "a"]}, "the label of image 0 is None, neither text nor a whole number"),
        ({"labels": np.array([*"ab" * 29, "a", np.nan], object)}, "the label of image 59 is nan, neither text nor"),
        ({"labels": np.array([1, "1"] * 30, object)}, "labels are both text and numbers, such as 1 and '1'"),
        ({"labels": np.ma.masked_equal(LABELS, 4)}, "is masked: leave out the image"),
        ({"labels": [b"a", b"\xe9"] * 30}, "is not UTF-8"),
    ],
)
def test_what_does_not_fit_is_one_sentence(change, message):
    with pytest.raises(UserError) as error:
        from_arrays(**CHANGED | change)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_whole_numbers_among_objects_are_numbers():
    """They were text: "10" came before "2", and splits of numbers found none of them."""
    assert_grouped(from_arrays(IMAGES, LABELS.astype(object), SPLITS))
    assert_grouped(from_arrays(IMAGES, np.ma.array(LABELS), SPLITS))


def test_data_sets_in_the_form_of_tensorflow_datasets():
    dicts = tf.data.Dataset.from_tensor_slices({"id": np.arange(60), "image": IMAGES, "label": LABELS})
    pairs = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    for dataset in (dicts, pairs, list(zip(IMAGES, LABELS, strict=True))):
        assert_grouped(from_tf_dataset(dataset, SPLITS, NAMES), names=NAMES.__getitem__)
    texts = tf.data.Dataset.from_tensor_slices({"image": IMAGES / 255, "label": LABELS.astype(str)})
    by_text = {split: [str(label) for label in labels] for split, labels in SPLITS.items()}
    assert_grouped(from_tf_dataset(texts, by_text))


def test_other_data_sets_are_refused():
    dataset = tf.data.Dataset.from_tensor_slices({"image": IMAGES, "label": LABELS})
    sizes = [(IMAGES[0], 1), (IMAGES[1, :5], 1)]
    for other, message in (
        (dataset.repeat(), "the dataset never ends"),
        ({"train": dataset, "test": dataset}, r"give tfds\.load split='train\+test'"),
        ((IMAGES, LABELS), "arrays go to from_arrays"),
        (dataset.batch(4), r"must be single images: \.unbatch\(\) it"),
        (dataset.take(0), "the dataset has no images"),
        (dataset.map(lambda e: {"image": e["image"], "digit": e["label"]}), "have no 'label', but image, digit"),
        (dataset.map(lambda e: e["image"]), "must be dicts of image and label, or pairs"),
        (sizes, r"differ in size, \[8, 6, 3\] and \[5, 6, 3\]: resize them"),
    ):
        with pytest.raises(UserError, match=message):
            from_tf_dataset(other, SPLITS)
