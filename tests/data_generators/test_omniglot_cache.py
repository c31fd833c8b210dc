"""The cache of decoded images: used when it may be, rebuilt when it must be."""

import os
import random

import numpy as np
import pytest

from data_generators import files, omniglot
from data_generators.errors import UserError
from tests.data_generators import synthetic_omniglot as synthetic


def load(folder):
    return omniglot.load_omniglot(folder, download=False, edition=synthetic.edition())


@pytest.fixture
def decodings(monkeypatch):
    """Counts how often the images were decoded."""
    calls = []
    decode = omniglot._decode
    monkeypatch.setattr(omniglot, "_decode", lambda *arguments: calls.append(1) or decode(*arguments))
    return calls


@pytest.fixture
def cached(tmp_path):
    """A folder with both zips and the cache made from them."""
    load(synthetic.write_zips(tmp_path))
    return tmp_path


def remove_zips(folder):
    for part in synthetic.CHARACTERS:
        (folder / f"{part}.zip").unlink()


def test_cache_does_without_its_sources(cached, decodings):
    before = load(cached)["train"].images
    remove_zips(cached)
    assert np.array_equal(load(cached)["train"].images, before)
    assert not decodings


def test_changed_zip_is_decoded_anew(cached, decodings):
    contents = synthetic.files("images_background")
    first, second = list(contents)[:2]
    contents[first], contents[second] = contents[second], contents[first]
    synthetic.write_zip(cached / "images_background.zip", contents)
    new = load(cached)["train"].images
    latin = [*sorted(name for names in synthetic.CHARACTERS.values() for name in names)].index("Latin/character01") * 3
    original = ~np.asarray(synthetic.drawing(second).resize((28, 28)))
    assert np.array_equal(new[latin, :, :, 0] == 255, original)
    assert len(decodings) == 1
    load(cached)
    assert len(decodings) == 1


def test_changed_folder_is_decoded_anew(tmp_path, decodings):
    for part in synthetic.CHARACTERS:
        synthetic.write_folder(tmp_path / part, synthetic.files(part))
    load(tmp_path)
    image = tmp_path / "images_background" / "Latin" / "character02" / "0001_02.png"
    os.rename(image, image.with_name("0001_00.png"))
    load(tmp_path)
    assert len(decodings) == 2


def test_spoilt_sources_are_refused_though_there_is_an_older_cache(cached):
    before = (cached / omniglot.NAME).read_bytes()
    synthetic.write_zip(cached / "images_background.zip", {})
    with pytest.raises(UserError, match="holds 0 characters"):
        load(cached)
    assert (cached / omniglot.NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"noise" * 100, b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_other_file_under_its_name_is_rebuilt(cached, decodings, content):
    whole = (cached / omniglot.NAME).read_bytes()
    (cached / omniglot.NAME).write_bytes(content)
    load(cached)
    assert len(decodings) == 1
    assert len((cached / omniglot.NAME).read_bytes()) == len(whole)


OTHERS = {
    "no dict": {"made": "[]"},
    "null": {"made": "null"},
    "no sources": {"made": '{"format": 1}'},
    "sources are no dict": {"made": '{"format": 1, "from": []}'},
    "deep": {"made": "[" * 100_000},
    "the same name": {"names": np.array(["x"] * 10)},
    "no names": {"names": np.array("x")},
    "numbers": {"names": np.arange(10)},
    "objects": {"names": np.array(["x"] * 10, object)},
    "floats": {"bits": np.zeros((30, 98))},
    "one bit image": {"bits": np.uint8(7)},
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_contents_are_rebuilt(cached, decodings, other):
    path = cached / omniglot.NAME
    whole = path.read_bytes()
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, **OTHERS[other]})
    load(cached)
    assert len(decodings) == 1
    assert len(path.read_bytes()) == len(whole)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, **OTHERS[other]})
    remove_zips(cached)
    with pytest.raises(UserError, match=r"lacks images_background\.zip from "):
        load(cached)


def test_damage_to_the_directory_of_the_zip_is_rebuilt(cached):
    path = cached / omniglot.NAME
    whole, images = path.read_bytes(), load(cached)["test"].images
    begin, noise = whole.index(b"PK\x01\x02"), random.Random(0)
    places = [begin + 8, begin + 10, *(noise.randrange(begin, len(whole)) for _ in range(40))]
    for place in places:  # the first two are an entry's flags and compression method
        damaged = bytearray(whole)
        damaged[place] ^= noise.randrange(1, 256)
        path.write_bytes(damaged)
        assert np.array_equal(load(cached)["test"].images, images)


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    synthetic.write_zips(tmp_path)
    left = [tmp_path / f".{omniglot.NAME}.4194304-{files._HOST}.part", tmp_path / f"{omniglot.NAME}.7.part"]
    for part in left:
        part.write_bytes(b"half")
        os.utime(part, (1e9, 1e9))
    load(tmp_path)
    assert not any(part.exists() for part in left)


def test_no_damage_goes_unnoticed(cached):
    path = cached / omniglot.NAME
    whole, images = path.read_bytes(), load(cached)["test"].images
    noise = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[noise.randrange(len(whole))] ^= 1 << noise.randrange(8)
        path.write_bytes(damaged)
        assert np.array_equal(load(cached)["test"].images, images)
    path.write_bytes(whole[:-100])
    assert np.array_equal(load(cached)["test"].images, images)


def test_damaged_cache_without_sources_is_an_error_that_leaves_it_alone(cached):
    remove_zips(cached)
    (cached / omniglot.NAME).write_bytes(b"noise")
    with pytest.raises(UserError, match=r"lacks images_background\.zip from "):
        load(cached)
    assert (cached / omniglot.NAME).read_bytes() == b"noise"


def test_cache_of_another_edition_or_format_is_not_used(cached, monkeypatch):
    images = load(cached)["train"].images
    path = cached / omniglot.NAME
    assert omniglot.read_cache(path, {}, (10, 3, 28)) is not None
    assert omniglot.read_cache(path, {}, (11, 3, 28)) is None
    assert omniglot.read_cache(path, {}, (10, 4, 28)) is None
    assert omniglot.read_cache(path, {"images_background": "other"}, (10, 3, 28)) is None
    monkeypatch.setattr(omniglot, "_FORMAT", 2)
    assert omniglot.read_cache(path, {}, (10, 3, 28)) is None
    assert np.array_equal(load(cached)["train"].images, images)


def test_place_that_cannot_be_written_is_told_and_the_images_are_loaded_all_the_same(tmp_path, decodings, caplog):
    synthetic.write_zips(tmp_path)
    (tmp_path / omniglot.NAME).mkdir()
    for _ in range(2):
        assert load(tmp_path)["train"].images.shape == (30, 28, 28, 1)
    assert len(decodings) == 2
    assert "Omniglot will be decoded again each time" in caplog.text
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "images_background.zip",
        "images_evaluation.zip",
        omniglot.NAME,
    ]


def test_failed_write_leaves_the_older_cache(cached, monkeypatch):
    before = {file: file.read_bytes() for file in cached.iterdir()}

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        omniglot.write_cache(cached / omniglot.NAME, {}, np.zeros([30, 28, 28, 1], np.uint8), ["a"] * 10)
    assert {file: file.read_bytes() for file in cached.iterdir()} == before
