"""The cache of a split: used when it may be, rebuilt when it must be, and never half written."""

import json
import os
import shutil
import time

import numpy as np
import pytest

from data_generators import files, image_folders
from data_generators.class_folders import list_classes
from data_generators.decoding import Decoder
from data_generators.errors import UserError
from data_generators.miniimagenet import load_miniimagenet
from data_generators.own_images import load_image_folder
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators.synthetic_images import of_class, write
from tests.data_generators.synthetic_omniglot import snapshot

FIRST = "train/n01/n0100000001.jpg"
JSON = "decoded_train_84x84x3.json"


@pytest.fixture
def decodings(monkeypatch):
    """The file names of the images that are decoded."""
    decoded = []
    call = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, path: decoded.append(path.name) or call(self, path))
    return decoded


@pytest.fixture
def cached(tmp_path):
    """A folder with a training split and its cache."""
    load_miniimagenet(write(tmp_path, synthetic.tree({"train/n01": 3, "train/n02": 2})))
    return tmp_path


def array_of(folder):
    (path,) = folder.glob("*.npy")
    return path


def remove_images(folder):
    for image in folder.glob("train/*/*"):
        image.unlink()


def test_images_are_decoded_once(tmp_path, decodings):
    write(tmp_path, synthetic.tree({"train/n01": 3, "train/n02": 2}))
    first = load_miniimagenet(tmp_path)["train"]
    assert len(decodings) == 5
    again = load_miniimagenet(tmp_path)["train"]
    assert len(decodings) == 5
    assert again.names == first.names
    for a, b in zip((first.images, first.offsets, first.lengths), (again.images, again.offsets, again.lengths)):  # noqa: B905
        assert np.array_equal(a, b)
    assert isinstance(again.images, np.memmap)


@pytest.mark.parametrize("folders_too", [False, True])
def test_cache_does_without_its_images(cached, decodings, folders_too):
    before = load_miniimagenet(cached)["train"].images
    remove_images(cached)
    if folders_too:
        for folder in (*cached.glob("train/*"), cached / "train"):
            folder.rmdir()
    assert np.array_equal(load_miniimagenet(cached)["train"].images, before)
    assert not decodings


CHANGES = {
    "another image": lambda folder: (folder / FIRST).write_bytes(synthetic.jpeg("another")),
    "removed": lambda folder: (folder / FIRST).unlink(),
    "renamed": lambda folder: (folder / FIRST).rename(folder / FIRST.replace("1.jpg", "9.jpg")),
    "added": lambda folder: write(folder, {"train/n03/a.jpg": synthetic.jpeg("a")}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_decoded_anew(cached, decodings, change):
    old = array_of(cached)
    CHANGES[change](cached)
    data = load_miniimagenet(cached)["train"]
    assert len(decodings) == data.lengths.sum() > 0
    assert array_of(cached) != old  # the former array is gone
    files = sorted((cached / "train").glob("*/*.jpg"))
    for name in data.names:
        expected = [synthetic.pixels(file.read_bytes()) for file in files if file.parent.name == name]
        assert np.array_equal(of_class(data, name), expected)


def test_spoilt_image_is_refused_though_there_is_an_older_cache(cached):
    (cached / FIRST).write_bytes(b"")
    before = snapshot(cached)
    with pytest.raises(UserError, match="is empty"):
        load_miniimagenet(cached)
    assert snapshot(cached) == before


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 1}', b"\xff", b"noise" * 99])
def test_other_file_under_the_name_of_the_json_is_rebuilt(cached, decodings, content):
    whole = snapshot(cached)
    (cached / JSON).write_bytes(content)
    load_miniimagenet(cached)
    assert len(decodings) == 5
    assert snapshot(cached) == whole


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_truncated_array_is_rebuilt(cached, decodings, keep):
    whole = snapshot(cached)
    content = array_of(cached).read_bytes()
    array_of(cached).write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    load_miniimagenet(cached)
    assert len(decodings) == 5
    assert snapshot(cached) == whole


def test_missing_array_or_damaged_header_is_rebuilt(cached, decodings):
    whole = snapshot(cached)
    content = array_of(cached).read_bytes()
    array_of(cached).unlink()
    load_miniimagenet(cached)
    for place in (0, 10, 40, 60):
        array_of(cached).write_bytes(content[:place] + b"?" + content[place + 1 :])
        load_miniimagenet(cached)
    assert len(decodings) == 25
    assert snapshot(cached) == whole


def test_no_damage_to_a_cache_goes_unnoticed(cached, decodings):
    whole, paths = snapshot(cached), [array_of(cached), cached / JSON]
    noise = np.random.default_rng(0)
    for path in paths * 20:
        damaged = bytearray(path.read_bytes())
        damaged[noise.integers(len(damaged))] ^= 1 << noise.integers(8)
        path.write_bytes(damaged)
        assert snapshot(cached) != whole
        load_miniimagenet(cached)
        assert snapshot(cached) == whole
    assert len(decodings) == 40 * 5


def test_damaged_cache_without_images_is_an_error_that_leaves_it_alone(cached):
    remove_images(cached)
    damaged = bytearray(array_of(cached).read_bytes())
    damaged[5000] ^= 16
    for content in (damaged, b"noise"):
        array_of(cached).write_bytes(content)
        before = snapshot(cached)
        with pytest.raises(
            UserError, match=rf"{JSON} or its array is damaged, and the images .* are gone: put them back"
        ):
            load_miniimagenet(cached)
        assert snapshot(cached) == before


def test_cache_of_an_earlier_version_is_used_only_where_the_images_are_gone(cached, decodings, caplog):
    whole, images = snapshot(cached), np.array(load_miniimagenet(cached)["train"].images)
    made = json.loads((cached / JSON).read_text())
    del made["checksum"]
    (cached / JSON).write_text(json.dumps(made | {"format": 1}))
    load_miniimagenet(cached)
    assert len(decodings) == 5
    assert snapshot(cached) == whole
    (cached / JSON).write_text(json.dumps(made | {"format": 1}))
    remove_images(cached)
    assert np.array_equal(load_miniimagenet(cached)["train"].images, images)
    assert len(decodings) == 5
    assert caplog.text.count("is of an earlier version: damage to it would not be noticed") == 1


def test_cache_of_another_format_is_not_used(cached, decodings):
    made = json.loads((cached / JSON).read_text())
    (cached / JSON).write_text(json.dumps(made | {"format": 0}))
    load_miniimagenet(cached)
    assert len(decodings) == 5


def test_place_that_cannot_be_written_is_told_and_the_images_are_loaded_all_the_same(tmp_path, decodings, caplog):
    write(tmp_path, synthetic.tree({"train/n01": 3, "train/n02": 2}))
    (tmp_path / JSON).mkdir()
    for _ in range(2):
        data = load_miniimagenet(tmp_path)["train"]
        assert np.array_equal(of_class(data, "n02")[1], synthetic.pixels(synthetic.jpeg("train/n02/n0200000002.jpg")))
    assert caplog.text.count(f"{tmp_path}/train will be decoded again each time") == 2
    assert not list(tmp_path.glob("*.part"))


def test_full_disk_is_told_and_leaves_the_older_cache(cached, caplog, monkeypatch):
    before = {file: file.read_bytes() for file in cached.glob("decoded*")}
    (cached / FIRST).unlink()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_folders, "_header", fail)
    assert load_miniimagenet(cached)["train"].lengths.tolist() == [2, 2]
    assert "No space left on device" in caplog.text
    assert {file: file.read_bytes() for file in cached.glob("decoded*")} == before


def test_neither_disk_nor_memory_has_room(tmp_path, monkeypatch):
    write(tmp_path, synthetic.tree({"train/n01": 2}))
    (tmp_path / JSON).mkdir()
    monkeypatch.setattr(image_folders, "_memory", lambda: 42335)
    with pytest.raises(
        UserError, match=r"train: 2 images of 84x84 pixels need 0\.0 GB, .* neither the disk nor the memory has room"
    ):
        load_miniimagenet(tmp_path)
    monkeypatch.setattr(image_folders, "_memory", lambda: 42336)
    assert len(load_miniimagenet(tmp_path)["train"].images) == 2


def test_large_images_are_decoded_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(image_folders, "_CHUNK_BYTES", 50_000)
    folders = list_classes(write(tmp_path, synthetic.tree({"n01": 5})), [".jpg"])
    decoder = Decoder(84, 3, resize=False)
    assert [len(images) for images in image_folders._decoded(folders, decoder)] == [2, 2, 1]


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    write(tmp_path, synthetic.tree({"train/n01": 1}))
    old, new = (tmp_path / f"decoded_train_84x84x3.abc.npy.{pid}.part" for pid in (1, 2))
    killed = tmp_path / f".decoded_train_84x84x3.abc.npy.4194304-{files._HOST}.part"
    for part in (old, new, killed):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    load_miniimagenet(tmp_path)
    assert not old.exists()
    assert new.exists()
    assert not killed.exists()


def test_split_larger_than_a_chunk_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(image_folders, "_CHUNK", 4)
    contents = synthetic.tree({"train/n01": 7, "train/n02": 4})
    data = load_miniimagenet(write(tmp_path, contents))["train"]
    assert np.array_equal(data.images, [synthetic.pixels(content) for content in contents.values()])


def test_arrays_of_earlier_runs_stay_readable_while_a_new_one_is_made(cached):
    before = load_miniimagenet(cached)["train"].images
    copy = np.array(before)
    (cached / FIRST).write_bytes(synthetic.jpeg("another"))
    load_miniimagenet(cached)
    assert np.array_equal(before, copy)


def test_a_cache_that_stands_in_for_images_is_told(tmp_path, capsys):
    write(tmp_path, synthetic.tree({"train/a": 2, "val/b": 2}, width=8, height=8))
    assert load_image_folder(tmp_path, 8).keys() == {"train", "val"}
    assert "stand in" not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "val")
    assert load_image_folder(tmp_path, 8)["val"].names == ("b",)
    assert "has images, but none of val: those that were decoded earlier stand in for them" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "train")
    assert load_image_folder(tmp_path, 8).keys() == {"train", "val"}
    assert capsys.readouterr().out == "", "only the caches are left, on purpose"
