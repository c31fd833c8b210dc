"""Loading miniImagenet: whole and incomplete, with and without its images, and damaged."""

import numpy as np
import pytest

from data_generators.episodes import Episodes
from data_generators.errors import UserError
from data_generators.miniimagenet import load_miniimagenet
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators.synthetic_images import of_class, write
from tests.data_generators.synthetic_omniglot import snapshot

CLASSES = {"train/n01": 3, "train/n02": 2, "val/n03": 2, "test/n04": 1}
FIRST = "train/n01/n0100000001.jpg"


def refused(folder, match):
    before = snapshot(folder)
    with pytest.raises(UserError, match=match) as error:
        load_miniimagenet(folder)
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before


def test_splits_classes_and_pixels(tmp_path):
    contents = synthetic.tree(CLASSES)
    splits = load_miniimagenet(write(tmp_path, contents))
    assert {split: data.names for split, data in splits.items()} == {
        "train": ("n01", "n02"),
        "val": ("n03",),
        "test": ("n04",),
    }
    assert splits["train"].lengths.tolist() == [3, 2]  # incomplete classes
    for name, content in contents.items():
        split, label, file = name.split("/")
        image = of_class(splits[split], label)[int(file[-5]) - 1]
        assert np.array_equal(image, synthetic.pixels(content))
    assert splits["train"].images.shape == (5, 84, 84, 3)
    assert isinstance(splits["train"].images, np.memmap)


def test_episodes_are_drawn_from_the_file(tmp_path):
    splits = load_miniimagenet(write(tmp_path, synthetic.tree(CLASSES)))
    tasks = Episodes({"train": splits["train"]}, ways=2, shots=1, queries=1).sample(0, "train", 0, 3)
    assert tasks.query_x.shape == (3, 2, 84, 84, 3)
    assert type(tasks.query_x) is np.ndarray
    image = splits["train"].images[0] / np.float32(255)
    drawn = np.concatenate([tasks.support_x, tasks.query_x], axis=1).reshape(-1, 84, 84, 3)
    assert any(np.array_equal(image, x) for x in drawn)


def test_a_split_may_be_missing(tmp_path):
    write(tmp_path, synthetic.tree({"val/n03": 2}))
    assert list(load_miniimagenet(tmp_path)) == ["val"]


def test_stray_files_do_no_harm(tmp_path, caplog):
    write(tmp_path, synthetic.tree(CLASSES))
    stray = ("train/README", "train/.hidden/a.jpg", "train/n01/notes.txt", "train/n01/._n01.jpg", "labels/n01/a.jpg")
    write(tmp_path, dict.fromkeys([*stray, "train/__MACOSX/a.jpg", "train/n01/sub/a.jpg", "train.csv"], b"stray"))
    assert load_miniimagenet(tmp_path)["train"].lengths.tolist() == [3, 2]
    assert caplog.text == ""


def test_folder_without_images_is_no_class_and_named(tmp_path, caplog):
    write(tmp_path, synthetic.tree(CLASSES) | {"train/n99/a.png": b"", "train/n98/b": b""})
    assert load_miniimagenet(tmp_path)["train"].names == ("n01", "n02")
    assert "train/n98 (and 1 more) holds no image, so it is not a class" in caplog.text


def test_no_data(tmp_path):
    layout = r"/{train,val,test}/<class>/\*\.jpg of 84x84 pixels: get train\.csv"
    sources = r"from https://github\.com/twitter-research/.*ImageNet .*licence"
    for folder in (tmp_path, tmp_path / "nowhere"):
        message = rf"^{folder} holds no miniImagenet, {folder}{layout}.* {sources}"
        refused(folder, message + r".*then run `python -m scripts\.prepare_miniimagenet`")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: put a whole image in its place, or remove it"),
        (synthetic.jpeg("x")[:900], "is damaged .*truncated"),
        (b"\xff\xd8\xff", "is (no JPEG image|damaged)"),
        (b"noise" * 100, "is no JPEG image"),
        (synthetic.encoded(synthetic.picture("x"), "PNG"), "is no JPEG image"),
        (synthetic.jpeg("x", width=90), "has 90x84 pixels, not 84x84"),
    ],
)
def test_bad_image_is_named(tmp_path, content, message):
    write(tmp_path, synthetic.tree(CLASSES) | {FIRST: content})
    refused(tmp_path, rf"{FIRST} {message}")


def test_no_damage_to_an_image_ends_in_another_error(tmp_path):
    whole = synthetic.jpeg(FIRST)
    random, messages = np.random.default_rng(0), []
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        write(tmp_path, {FIRST: bytes(damaged)})
        try:
            load_miniimagenet(tmp_path)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 3
    assert all(FIRST in message for message in messages)


def test_grey_and_cmyk_are_converted_and_said_once(tmp_path, caplog):
    grey, cmyk = (synthetic.picture("x", mode=mode) for mode in ("L", "CMYK"))
    contents = synthetic.tree(CLASSES)
    contents |= {FIRST: synthetic.encoded(grey), FIRST.replace("1.jpg", "2.jpg"): synthetic.encoded(cmyk)}
    images = of_class(load_miniimagenet(write(tmp_path, contents))["train"], "n01")
    assert np.ptp(images[0], axis=-1).max() == 0
    assert np.abs(images[0][..., 0].astype(int) - np.asarray(grey)).mean() < 3
    assert np.abs(images[1].astype(int) - np.asarray(cmyk.convert("RGB"))).mean() < 10
    assert caplog.text.count(f"2 images were not RGB and converted, such as {tmp_path / FIRST}") == 1
    caplog.clear()
    load_miniimagenet(tmp_path)
    assert caplog.text == ""


def test_class_in_two_splits_is_warned_of(tmp_path, caplog):
    write(tmp_path, synthetic.tree({"train/n01": 1, "val/n01": 1, "test/n02": 1, "val/n03": 1, "train/n03": 1}))
    assert len(load_miniimagenet(tmp_path)) == 3
    assert "class n01 (and 1 more) is in both train and val, so that a test on the latter" in caplog.text


def test_class_with_too_few_images(tmp_path):
    splits = load_miniimagenet(write(tmp_path, synthetic.tree(CLASSES)))
    with pytest.raises(UserError, match=r"need 3 images, but 1 class has fewer: n02 of the train split \(2\);"):
        Episodes({"train": splits["train"]}, ways=2, shots=1, queries=2)


def test_image_that_lies_about_its_size(tmp_path):
    """The size in the header is checked before any pixel is decoded."""
    content = bytearray(synthetic.jpeg("x"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = b"\xff\xff\xff\xff"
    refused(write(tmp_path, {FIRST: bytes(content)}), rf"{FIRST} has too many pixels .* a smaller image in")
