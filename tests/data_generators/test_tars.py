"""Tars that other tools write are read whole; damaged ones are refused."""

import io
import shutil
import subprocess
import tarfile

import numpy as np
import pytest

from data_generators import archives
from data_generators.errors import UserError
from tests.data_generators.synthetic_images import write, write_tar

CONTENTS = {"a/1.jpg": b"one" * 500, "a/2.jpg": b"", "b/3.jpg": b"x" * 1024, "b/4.jpg": b"four"}
FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def read(path):
    """The contents of all members."""
    return {
        entry.name: archive.extractfile(entry).read() for archive, entry in archives.members(path) if entry.isfile()
    }


def refused(path):
    with pytest.raises(UserError, match=rf"^{path} is damaged or cannot be read") as error:
        read(path)
    return str(error.value)


@pytest.fixture
def whole(tmp_path):
    """The bytes of a whole tar, and the offsets of its members' headers."""
    path = write_tar(tmp_path / "a.tar", CONTENTS)
    with tarfile.open(path) as archive:
        return path.read_bytes(), [entry.offset for entry in archive]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_format_is_read(tmp_path, kind, mode):
    contents = CONTENTS | {f"{'long' * 20}/{'name' * 15}.jpg": b"long", "\u00e9.jpg": b"accent"}
    with tarfile.open(tmp_path / "a", mode, format=FORMATS[kind]) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    assert read(tmp_path / "a") == contents


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
@pytest.mark.parametrize(
    "options", [["--format=gnu"], ["--format=posix"], ["--format=v7"], ["-b1"], ["--sparse"], ["-z"]]
)
def test_what_the_command_tar_writes_is_read(tmp_path, options):
    write(tmp_path / "source", CONTENTS)
    subprocess.run(["tar", *options, "-cf", tmp_path / "a.tar", "-C", tmp_path / "source", "a", "b"], check=True)
    assert read(tmp_path / "a.tar") == CONTENTS


def test_any_padding_and_what_follows_it_is_read(tmp_path, whole):
    content, offsets = whole
    end = offsets[-1] + 1024
    second = write_tar(tmp_path / "b.tar", {"c/5.jpg": b"five"}).read_bytes()
    for padding in (512, 1024, 5000, 100_000):
        (tmp_path / "a.tar").write_bytes(content[:end] + bytes(padding))
        assert read(tmp_path / "a.tar") == CONTENTS
    (tmp_path / "a.tar").write_bytes(content + second)
    assert read(tmp_path / "a.tar") == CONTENTS | {"c/5.jpg": b"five"}
    (tmp_path / "a.tar").write_bytes(bytes(10240))  # a tar without members
    assert read(tmp_path / "a.tar") == {}


def test_no_flipped_bit_in_a_header_gives_another_list(tmp_path, whole):
    content, offsets = whole
    random, path, number = np.random.default_rng(0), tmp_path / "a.tar", 0
    for place in (offset + int(random.integers(512)) for offset in offsets for _ in range(40)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            assert read(path) == CONTENTS  # only the checksum's own padding may change unnoticed
        except UserError:
            number += 1
    assert number > 150


def test_end_that_is_missing_is_noticed(tmp_path, whole):
    content, offsets = whole
    for end in (*offsets, offsets[-1] + 1024, offsets[-1] + 1000, offsets[1] + 100, 0):
        (tmp_path / "a.tar").write_bytes(content[:end])
        refused(tmp_path / "a.tar")


def test_zeros_in_the_middle_and_noise_at_the_end_are_noticed(tmp_path, whole):
    content, (_, second, third, *_) = whole
    (tmp_path / "a.tar").write_bytes(content[:second] + bytes(1024) + content[third + 512 :])
    refused(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(content + b"noise")
    assert "the header of a file is damaged" in refused(tmp_path / "a.tar")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tar_is_held_against_its_checksum(tmp_path, mode):
    random, path = np.random.default_rng(0), tmp_path / "a.tar"
    contents = CONTENTS | {"noise.jpg": random.bytes(20_000)}
    content = write_tar(path, contents, mode=mode).read_bytes()
    for place in random.integers(20, len(content), 30):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            assert read(path) == contents
        except UserError as error:
            assert "a.tar is damaged" in str(error)  # noqa: PT017
    path.write_bytes(content[:-1])
    refused(path)
