"""Damaged or wrong pickles, .npz files and zips of images are refused with a sentence, and nothing on disk changes."""

import os

import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.miniimagenet import load_miniimagenet
from data_generators.own_images import load_image_folder
from tests.data_generators import synthetic_packed as packed
from tests.data_generators.synthetic_images import encoded, picture
from tests.data_generators.synthetic_omniglot import snapshot
from tests.data_generators.synthetic_packed import jpeg, pickled, write_zip

IMAGES_OF_ONE = np.zeros((4, 84, 84, 3), np.uint8)
TIERED = {"label_specific": np.zeros(1, np.int32), "label_specific_str": ["a"]}
PNG = encoded(picture("a"), "PNG")


def _cache(**changes):
    return {"image_data": IMAGES_OF_ONE, "class_dict": {"a": [0, 1], "b": [2, 3]}} | changes


def _labels(**changes):
    return {"data": IMAGES_OF_ONE, "labels": [0, 0, 1, 1]} | changes


CACHE, LABELLED = "mini-imagenet-cache-train.pkl", "miniImageNet_category_split_train_phase_train.pickle"
BAD = {
    "no dict": (CACHE, [1], "it is no dict"),
    "no images": (CACHE, {"class_dict": {}}, "it holds class_dict, and not image_data"),
    "no classes": (CACHE, {"image_data": IMAGES_OF_ONE}, "it holds image_data, and not class_dict"),
    "classes that are no dict": (CACHE, _cache(class_dict=[0, 1]), "its class_dict is no dict"),
    "an image in no class": (CACHE, _cache(class_dict={"a": [0, 1], "b": [3]}), "image 2 is in no class"),
    "an image in two classes": (CACHE, _cache(class_dict={"a": [0, 1], "b": [1, 2, 3]}), "image 1 is in two classes"),
    "an image twice": (
        CACHE,
        _cache(class_dict={"a": [0, 1, 2, 3, 3]}),
        "image 3 is in two classes, or in one twice",
    ),
    "an image beyond": (CACHE, _cache(class_dict={"a": [0, 1, 2, 4]}), "it holds 4 images, but a class lists others"),
    "an image before": (CACHE, _cache(class_dict={"a": [0, 1, 2, -1]}), "it holds 4 images, but a class lists others"),
    "an empty class": (CACHE, _cache(class_dict={"a": [0, 1, 2, 3], "b": []}), "class b is no list of images"),
    "fractions": (CACHE, _cache(class_dict={"a": [0.5]}), "class a is no list of images"),
    "no image": (CACHE, _cache(image_data=IMAGES_OF_ONE[:0], class_dict={}), "it holds no image"),
    "floats": (CACHE, _cache(image_data=IMAGES_OF_ONE / 255), r"float64 of shape \(4, 84, 84, 3\), and not uint8"),
    "channels first": (LABELLED, _labels(data=IMAGES_OF_ONE.transpose(0, 3, 1, 2)), r"uint8 of shape \(4, 3, 84, 84\)"),
    "vectors": (LABELLED, _labels(data=np.zeros((4, 99), np.uint8)), r"uint8 of shape \(4, 99\), and not uint8 of n x"),
    "a number": (LABELLED, _labels(data=3), "its images are neither an array nor a list"),
    "one label": (LABELLED, _labels(labels=3), "its labels are neither an array nor a list"),
    "fewer labels": (LABELLED, _labels(labels=[0, 1]), "it holds 4 images and 2 labels"),
    "more labels": (LABELLED, _labels(labels=[0] * 5), "it holds 4 images and 5 labels"),
    "one-hot labels": (LABELLED, _labels(labels=np.eye(4, dtype=int)), r"labels are int64 of shape \(4, 4\)"),
    "floating labels": (LABELLED, _labels(labels=[0.0, 0.5, 1, 1]), "labels are float64"),
    "labels of differing kinds": (LABELLED, _labels(labels=[0, None, 1, 1]), "labels are object"),
    "labels of differing lengths": (LABELLED, _labels(labels=[[0], [1, 2], [1], [1]]), "damaged or cannot be read"),
    "texts and numbers": (LABELLED, _labels(labels=["a", 0, 1, 1]), "some of its labels are names, and others are not"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_as_it_must_be_is_one_sentence(tmp_path, name):
    file, value, message = BAD[name]
    (tmp_path / file).write_bytes(pickled(value))
    refused(tmp_path, message)


def refused(folder, message):
    before = snapshot(folder)
    with pytest.raises(UserError, match=message) as error:
        load_miniimagenet(folder)
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before


TIERED_BAD = {
    "damaged": ([PNG[:-20] + b"x" * 20], TIERED, "train_images_png.pkl: image 0 is damaged"),
    "cut": ([PNG[:-30]], TIERED, "train_images_png.pkl: image 0 is damaged"),
    "no image": ([b"no image"], TIERED, "train_images_png.pkl: image 0 is no image that Pillow can read"),
    "empty": ([b""], TIERED, "train_images_png.pkl: image 0 is empty"),
    "other size": ([encoded(picture("a", 30, 20), "PNG")], TIERED, "image 0 has 30x20 pixels, not 84x84"),
    "numbers": ([3], TIERED, "image 0 is damaged or cannot be read .something else"),
    "floats": ([np.zeros((84, 84, 3))], TIERED, r"image 0 is float64 of shape \(84, 84, 3\), and not an image"),
    "fewer labels": ([PNG, PNG], TIERED, "train_labels.pkl is damaged .* 2 images and 1 labels"),
    "fewer names": ([PNG], TIERED | {"label_specific_str": []}, "has no text for the label 0"),
    "a label that counts from the end": (
        [PNG],
        TIERED | {"label_specific": np.array([-1])},
        "has no text for the label -1",
    ),
    "no labels": ([PNG], {"label_general": []}, "it holds label_general, and not labels"),
}


@pytest.mark.parametrize("name", TIERED_BAD)
def test_bad_tiered_files(tmp_path, name):
    images, labels, message = TIERED_BAD[name]
    (tmp_path / "train_images_png.pkl").write_bytes(pickled(images))
    (tmp_path / "train_labels.pkl").write_bytes(pickled(labels))
    refused(tmp_path, message)


def test_images_without_labels_and_labels_without_images(tmp_path):
    packed.tiered(tmp_path)
    labels = (tmp_path / "val_labels.pkl").read_bytes()
    (tmp_path / "val_labels.pkl").unlink()
    refused(tmp_path, "val_images_png.pkl holds images without labels: put val_labels.pkl beside it")
    (tmp_path / "val_labels.pkl").write_bytes(labels)
    (tmp_path / "val_images_png.pkl").unlink()
    refused(tmp_path, "val_labels.pkl holds labels without images: put val_images_png.pkl beside it")


def test_a_split_that_is_there_twice(tmp_path):
    packed.cache(tmp_path)
    packed.cache(tmp_path, splits={"val": ["n09"]}, val="validation")
    refused(tmp_path, "the val split is there more than once, in .*-val.pkl and .*-validation.pkl: keep one of them")


def test_a_class_in_two_splits(tmp_path):
    packed.cache(tmp_path, splits={"train": ["n01", "n02"], "val": ["n02"], "test": ["n05"]})
    with pytest.raises(UserError, match=r"class n02 is in both train and val, .*: take it out of one of them"):
        load_miniimagenet(tmp_path)


def test_numbers_that_count_each_split_from_0_are_no_names(tmp_path):
    packed.npz(tmp_path)
    assert load_miniimagenet(tmp_path)["val"].names == ("0",)
    packed.npz(tmp_path, labels=lambda split, i, name: {"train": i, "val": 2, "test": 3}[split])
    with pytest.raises(UserError, match="class 2 is in both train and val"):
        load_miniimagenet(tmp_path)


NPZ_BAD = {
    "other names": ({"a": IMAGES_OF_ONE}, "it holds a where images or features must be"),
    "no labels": ({"images": IMAGES_OF_ONE}, "it holds images where labels or targets must be"),
    "two": ({"images": IMAGES_OF_ONE, "features": IMAGES_OF_ONE}, "it holds images, features where images or features"),
    "objects": ({"images": np.array([b"a", None]), "labels": np.zeros(2)}, "images holds Python objects"),
    "labels of objects": ({"images": IMAGES_OF_ONE, "labels": np.array([0, None, 1, 2])}, "Object arrays cannot be"),
    "floats": ({"images": IMAGES_OF_ONE / 255, "labels": np.zeros(4, int)}, "float64"),
}


@pytest.mark.parametrize("name", NPZ_BAD)
def test_bad_npz_files(tmp_path, name):
    arrays, message = NPZ_BAD[name]
    np.savez(tmp_path / "train.npz", **arrays)
    refused(tmp_path, message)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damage_to_an_npz_goes_unnoticed(tmp_path, save):
    noise = np.random.default_rng(0)
    save(tmp_path / "train.npz", images=noise.integers(0, 256, (4, 8, 8, 3), np.uint8), labels=np.arange(4))
    damaged_or_the_same(tmp_path, tmp_path / "train.npz", noise)


def test_no_damage_to_a_zip_goes_unnoticed(tmp_path):
    images = {f"train/{name}/{i}.png": encoded(picture(f"{name}{i}", 8, 8), "PNG") for name in "ab" for i in range(2)}
    write_zip(tmp_path / "all.zip", images)
    damaged_or_the_same(tmp_path, tmp_path / "all.zip", np.random.default_rng(1))


def damaged_or_the_same(folder, path, noise):
    """Cuts the file and flips its bits. It must be refused, or read as before, perhaps without some classes."""
    whole = path.read_bytes()
    before = load_image_folder(folder, 8)["train"]
    before, names = np.array(before.images), before.names
    refusals = 0
    flips = [(int(noise.integers(len(whole))), 1 << int(noise.integers(8))) for _ in range(120)]
    for content in [
        *(whole[:end] for end in range(0, len(whole), len(whole) // 10)),
        *(_flipped(whole, *f) for f in flips),
    ]:
        for file in folder.glob("decoded*"):
            file.unlink()
        path.write_bytes(content)
        try:
            data = load_image_folder(folder, 8)["train"]
        except UserError as error:
            refusals += "\n" not in str(error)
        else:
            assert data.names == names or set(data.names) < set(names), data.names
            if data.names == names:
                assert np.array_equal(data.images, before)
    assert refusals > 60


def _flipped(content, place, bit):
    damaged = bytearray(content)
    damaged[place] ^= bit
    return bytes(damaged)


def test_pickles_that_are_more_than_data_are_refused(tmp_path):
    (tmp_path / CACHE).write_bytes(pickled({"image_data": os.path.join}))
    refused(tmp_path, rf"{CACHE} is a pickle that asks for posixpath.join, and only arrays")
    whole = pickled(_cache())
    for end in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / CACHE).write_bytes(whole[:end])
        refused(tmp_path, f"{CACHE} is damaged or cannot be read")


@pytest.mark.parametrize("names", [(), ("1.jpg", "2.jpg"), ("a/readme.txt",)])
def test_a_zip_of_a_split_without_classes(tmp_path, names):
    write_zip(tmp_path / "val.zip", {"a/1.jpg": jpeg("a")})
    write_zip(tmp_path / "train.zip", dict.fromkeys(names, b"a"))
    refused(tmp_path, "train.zip holds no image as <class>/<image>")


@pytest.mark.parametrize("load", [load_miniimagenet, load_image_folder])
def test_a_file_in_the_place_of_its_folder(tmp_path, load):
    write_zip(tmp_path / "train.zip", {"a/1.jpg": b"a"})
    with pytest.raises(UserError, match=r"train\.zip is a file: give the folder that it is in"):
        load(tmp_path / "train.zip")


@pytest.mark.parametrize("name", ["../a/1.jpg", "/a/1.jpg", "C:/a/1.jpg"])
def test_zips_that_are_not_safe(tmp_path, name):
    write_zip(tmp_path / "train.zip", {name: b"a"})
    refused(tmp_path, "train.zip is not safe: its entry .* leads outside its folder")


@pytest.mark.parametrize("folder", ["", "train/"])
def test_folders_of_one_name_in_a_zip_are_not_merged_into_one_class(tmp_path, folder):
    names = [f"{folder}{alphabet}/character{i}/1.jpg" for alphabet in ("Greek", "Latin") for i in range(2)]
    names = [f"{alphabet}/train/character{i}/1.jpg" for alphabet in ("a", "b") for i in range(2)] if folder else names
    write_zip(tmp_path / ("all.zip" if folder else "train.zip"), {name: jpeg(name) for name in names})
    refused(tmp_path, "has two folders of one class character0, ")
