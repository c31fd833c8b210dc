"""Images in pickles, .npz files and zips: every layout is read as its original code writes it, and decoded once."""

import os

import numpy as np
import pytest

from data_generators import pickles
from data_generators.errors import UserError
from data_generators.miniimagenet import load_miniimagenet
from data_generators.own_images import load_image_folder
from tests.data_generators import synthetic_packed as packed
from tests.data_generators.synthetic_images import of_class, tree, write
from tests.data_generators.synthetic_packed import IMAGES, SPLITS, array, expected, pickled

LOADERS = {"miniimagenet": load_miniimagenet, "folder": load_image_folder}
LAYOUTS = {
    "mini-imagenet-cache": lambda folder: packed.cache(folder),
    "mini-imagenet-cache, Python 3": lambda folder: packed.cache(folder, protocol=5),
    "mini-imagenet-cache, learn2learn": lambda folder: packed.cache(folder, protocol=4, val="validation"),
    "tieredImageNet": lambda folder: packed.tiered(folder),
    "tieredImageNet, Python 3": lambda folder: packed.tiered(folder, protocol=5),
    "tieredImageNet, bytes": lambda folder: packed.tiered(folder, protocol=4, as_bytes=True),
    "tieredImageNet, MetaOptNet": lambda folder: packed.tiered_npz(folder),
    "npz": lambda folder: packed.npz(folder),
    "npz, compressed": lambda folder: packed.npz(folder, np.savez_compressed),
    "npz, names": lambda folder: packed.npz(folder, labels=lambda split, i, name: name),
    "npz, TADAM": lambda folder: packed.npz(
        folder, name="few-shot-{}.npz", keys=("features", "targets"), labels=lambda split, i, name: int(name[1:])
    ),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path, layout, loader):
    names = LAYOUTS[layout](tmp_path)
    splits = LOADERS[loader](tmp_path)
    assert list(splits) == ["train", "val", "test"]
    for split, data in splits.items():
        assert sorted(data.names) == sorted(names[split])
        assert isinstance(data.images, np.memmap)
        for name, source in names[split].items():
            np.testing.assert_array_equal(of_class(data, name), expected(source))


@pytest.mark.parametrize("protocol", [2, 4])
def test_classes_that_are_mixed(tmp_path, protocol):
    made = packed.category_split(tmp_path, protocol)
    for split, data in load_miniimagenet(tmp_path).items():
        names, order = made[split]
        images, labels = array(SPLITS[split])[order], np.repeat(list(names), IMAGES)[order]
        for name in names:
            np.testing.assert_array_equal(of_class(data, name), images[labels == name])


def test_classes_of_other_sizes_are_resized_in_a_folder_and_refused_as_miniimagenet(tmp_path):
    made = packed.category_split(tmp_path, name="FC100_{}.pickle", side=32)
    data = load_image_folder(tmp_path, 32)["val"]
    assert set(map(bytes, of_class(data, "3"))) == set(map(bytes, expected("n04", 32)))
    assert made["val"][0] == {"3": "n04"}
    assert load_image_folder(tmp_path, 16, 1)["val"].images.shape == (IMAGES, 16, 16, 1)
    with pytest.raises(UserError, match=r"FC100_train.pickle: image \d+ has 32x32 pixels, not 84x84"):
        load_miniimagenet(tmp_path)


@pytest.mark.parametrize("prefix", ["", "images/"])
@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("loader", LOADERS)
def test_zips(tmp_path, loader, one, prefix):
    packed.zips(tmp_path, prefix, one)
    splits = LOADERS[loader](tmp_path)
    assert {split: list(data.names) for split, data in splits.items()} == SPLITS
    for data in splits.values():
        for name in data.names:
            np.testing.assert_array_equal(of_class(data, name), packed.of_jpegs(name))


def test_files_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    packed.cache(tmp_path)
    read, load = [], pickles.load
    monkeypatch.setattr(pickles, "load", lambda path: read.append(path.name) or load(path))
    first = load_miniimagenet(tmp_path)["train"]
    assert len(read) == 3
    again = load_miniimagenet(tmp_path)["train"]
    assert len(read) == 3
    assert again.names == first.names
    packed.cache(tmp_path, splits={"val": ["n07", "n08"]})
    assert load_miniimagenet(tmp_path)["val"].names == ("n07", "n08")
    assert read[3:] == ["mini-imagenet-cache-val.pkl"]
    for file in tmp_path.glob("*.pkl"):
        file.unlink()
    assert load_miniimagenet(tmp_path)["val"].names == ("n07", "n08")
    assert len(read) == 4


def test_folders_come_before_files(tmp_path):
    packed.cache(tmp_path)
    write(tmp_path, tree({"train/n01": 2, "val/n02": 2}))
    assert {split: data.names for split, data in load_miniimagenet(tmp_path).items()} == {
        "train": ("n01",),
        "val": ("n02",),
    }


def test_png_come_before_the_pixels_that_were_unpacked_from_them(tmp_path):
    packed.tiered(tmp_path)
    np.savez(tmp_path / "train_images.npz", images=array(SPLITS["train"])[..., ::-1])  # OpenCV's order of channels
    np.testing.assert_array_equal(of_class(load_miniimagenet(tmp_path)["train"], "1 n02"), expected("n02"))


def test_an_array_that_is_stored_in_columns(tmp_path):
    images = np.asfortranarray(array(SPLITS["val"]))
    np.savez(tmp_path / "val.npz", images=images, labels=np.zeros(IMAGES, int))
    content = {"image_data": images, "class_dict": {"n04": list(range(IMAGES))}}
    (tmp_path / "mini-imagenet-cache-train.pkl").write_bytes(pickled(content))
    for data in load_image_folder(tmp_path).values():
        np.testing.assert_array_equal(data.images, images)


def test_no_temporary_file_stays(tmp_path):
    packed.npz(tmp_path)
    load_miniimagenet(tmp_path)
    assert all(name.startswith("decoded_") or name.endswith(".npz") for name in os.listdir(tmp_path))


@pytest.mark.parametrize(("classes", "warned"), [((5, 5, 5), True), ((5, 3, 3), False)])
def test_as_many_classes_numbered_from_0_in_every_split_may_be_the_same(tmp_path, caplog, classes, warned):
    for split, number in zip(("train", "val", "test"), classes, strict=True):
        labels = np.repeat(np.arange(number), 2)
        np.savez(tmp_path / f"{split}.npz", images=np.zeros((len(labels), 8, 8, 3), np.uint8), labels=labels)
    load_image_folder(tmp_path, 8)
    told = "each split has 5 classes, numbered from 0, which are taken to be other classes in each"
    assert (told in caplog.text) == warned
