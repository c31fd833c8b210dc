"""Bad Omniglots: each is refused with one sentence that names what is wrong, and nothing on disk is changed."""

import contextlib
import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_generators.errors import UserError
from tests.data_generators import synthetic_omniglot as synthetic
from tests.data_generators.synthetic_omniglot import assert_whole, load, snapshot, spoil

BACKGROUND = "images_background"
EVALUATION = "images_evaluation"
FIRST = "Greek/character01/0001_01.png"


def refused(folder, match, **arguments):
    """Asserts that loading is refused with one sentence and leaves the folder as it was."""
    before = snapshot(folder)
    with pytest.raises(UserError, match=match) as error:
        load(folder, **arguments)
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before


def test_no_data_and_no_network(tmp_path, no_network):
    both = r"images_background\.zip from {0}.*/images_background\.zip and images_evaluation\.zip from {0}.*/images_eval"
    refused(tmp_path, f"{tmp_path} lacks {both.format('https://github.com/brendenlake/omniglot')}.*: put them there")
    message = r"images_background\.zip is missing and could not be .*127.* also need images_evaluation\.zip from http"
    refused(tmp_path, message, download=True, base_url=no_network)


def test_one_part_alone_is_not_enough(tmp_path):
    synthetic.write_folder(tmp_path / BACKGROUND, synthetic.files(BACKGROUND))
    refused(tmp_path, r"lacks images_evaluation\.zip from http[^ ]*: put")


BAD_FILES = {
    "truncated": (lambda c: c.update({FIRST: c[FIRST][:200]}), rf"{FIRST} is not a whole PNG image"),
    "no PNG": (lambda c: c.update({FIRST: b"GIF89a"}), rf"{FIRST} is not a whole PNG image"),
    "empty": (lambda c: c.update({FIRST: b""}), rf"{FIRST} is not a whole PNG image"),
    "wrong size": (
        lambda c: c.update({FIRST: synthetic.png(synthetic.drawing(FIRST, side=100))}),
        rf"{FIRST} has 100x100 pixels, not 105x105",
    ),
    "decompression bomb": (
        lambda c: c.update({FIRST: c[FIRST][:16] + struct.pack(">II", 30000, 30000) + c[FIRST][24:]}),
        rf"{FIRST} is not a whole PNG image",
    ),
    "long": (lambda c: c.update({FIRST: c[FIRST] + bytes(70_000)}), rf"{FIRST} is longer than 65,536 bytes"),
    "image missing": (lambda c: c.pop(FIRST) and None, "holds 2 images of Greek/character01 where Omniglot has 3"),
    "image too many": (
        lambda c: c.update({"Greek/character01/0001_99.png": c[FIRST]}),
        "holds 4 images of Greek/character01 where Omniglot has 3",
    ),
    "character missing": (
        lambda c: {name: content for name, content in c.items() if not name.startswith("Greek/character02")},
        "holds 5 characters where Omniglot has 6; Greek/character02 is missing, for one",
    ),
    "last character missing": (
        lambda c: {name: content for name, content in c.items() if not name.startswith("Greek/character03")},
        r"holds 5 characters where Omniglot has 6\.",
    ),
    "character too many": (
        lambda c: c.update({f"Greek/new/{i}.png": c[FIRST] for i in range(3)}),
        r"holds 7 characters where Omniglot has 6\.",
    ),
    "nothing": (lambda c: {"README": b""}, r"holds 0 characters where Omniglot has 6\."),
}


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("bad", BAD_FILES)
def test_bad_file_is_named(bad, as_zip, tmp_path):
    change, message = BAD_FILES[bad]
    refused(spoil(tmp_path, BACKGROUND, change, as_zip), f"{BACKGROUND}.*{message}")


def test_stray_files_do_not_make_a_flat_tree(tmp_path):
    synthetic.write_folder(tmp_path, {"__MACOSX/a/b.png": b"", ".trash/a/b.png": b"", "notes/a/b.txt": b""})
    refused(tmp_path, r"lacks images_background\.zip from ")


def test_character_in_both_parts(tmp_path):
    spoil(tmp_path, EVALUATION, lambda c: {n.replace("Runes", "Greek"): v for n, v in c.items()}, as_zip=True)
    refused(tmp_path, r"Greek/character01 is in more than one of .*images_background\.zip and .*images_evaluation\.zip")


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "images_background/../../evil.png", "C:\\evil.png"])
def test_zip_that_leads_outside(name, tmp_path):
    synthetic.write_zips(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "data" / f"{BACKGROUND}.zip", "a") as archive:
        archive.writestr(name, b"evil")
    refused(tmp_path / "data", r"images_background\.zip is not safe: its entry '.*evil\.png' leads outside its folder")
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_zip_with_an_entry_twice(tmp_path):
    synthetic.write_zips(tmp_path)
    with zipfile.ZipFile(tmp_path / f"{BACKGROUND}.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{BACKGROUND}/{FIRST}", b"again")
    refused(tmp_path, rf"images_background\.zip holds {BACKGROUND}/{FIRST} twice")


def test_zip_bomb(tmp_path):
    spoil(tmp_path, BACKGROUND, lambda c: c.update({"bomb": bytes(70_000_000)}), as_zip=True)
    assert (tmp_path / f"{BACKGROUND}.zip").stat().st_size < 200_000
    refused(tmp_path, r"images_background\.zip would unpack to 70,\d{3},\d{3} bytes, but at most 67,108,864 are")


def test_zip_that_lies_about_its_sizes(tmp_path):
    path = spoil(tmp_path, BACKGROUND, lambda c: c.update({FIRST: bytes(5_000_000)}), as_zip=True) / f"{BACKGROUND}.zip"
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 300)))
    refused(tmp_path, rf"images_background\.zip is damaged or cannot be read \(.*{FIRST}")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_truncated_zip(keep, tmp_path):
    path = synthetic.write_zips(tmp_path) / f"{EVALUATION}.zip"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    refused(tmp_path, r"images_evaluation\.zip is damaged or cannot be read \(.*\): put a whole one in its place")


def test_no_damage_to_a_zip_goes_unnoticed_or_ends_in_another_error(tmp_path):
    synthetic.write_zips(tmp_path)
    path = tmp_path / f"{BACKGROUND}.zip"
    whole = path.read_bytes()
    noise = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[noise.randrange(len(whole))] ^= 1 << noise.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):
            assert_whole(load(tmp_path))  # the bit did not matter, as in a date
            (tmp_path / "omniglot_28x28.npz").unlink()


def test_encrypted_and_unknown_compression(tmp_path):
    synthetic.write_zips(tmp_path)
    path = tmp_path / f"{BACKGROUND}.zip"
    whole = path.read_bytes()
    first = whole.index(b"PK\x01\x02")
    for offset, value in ((8, 1), (10, 77)):  # the entry's flags, and its compression method
        damaged = bytearray(whole)
        damaged[first + offset] = value
        path.write_bytes(damaged)
        refused(tmp_path, r"images_background\.zip is damaged or cannot be read")


def test_folder_in_the_place_of_a_zip(tmp_path):
    synthetic.write_zips(tmp_path)
    (tmp_path / f"{EVALUATION}.zip").unlink()
    (tmp_path / f"{EVALUATION}.zip").mkdir()
    refused(tmp_path, r"images_evaluation\.zip is damaged or cannot be read", download=True)


def test_png_checksum(tmp_path):
    """A PNG's checksum shows that its pixels were changed."""
    content = bytearray(synthetic.files(BACKGROUND)[FIRST])
    place = content.index(b"IDAT") + 4
    pixels = bytearray(zlib.decompress(content[place:]))
    pixels[20] ^= 255
    changed = zlib.compress(pixels)
    content[place : place + len(changed)] = changed
    refused(spoil(tmp_path, BACKGROUND, lambda c: c.update({FIRST: bytes(content)}), as_zip=False), "not a whole PNG")


def test_flipped_bit_that_pillow_does_not_see(tmp_path):
    """A disk or a copy may flip a bit of a file. (In a zip, the zip's own checksum shows it.)"""
    content = synthetic.files(BACKGROUND)[FIRST]
    right = np.asarray(Image.open(io.BytesIO(content)))
    for place in range(len(content) - 13, 40, -1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        with contextlib.suppress(Exception):
            if not np.array_equal(Image.open(io.BytesIO(damaged)), right):
                break
    refused(spoil(tmp_path, BACKGROUND, lambda c: c.update({FIRST: bytes(damaged)}), as_zip=False), "not a whole PNG")


def test_folder_that_must_not_be_read(tmp_path, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", deny)
    with pytest.raises(UserError, match=r"cannot be read .*Permission denied"):
        load(tmp_path)
