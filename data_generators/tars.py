"""Tars of images, compressed or not, read member by member; damage that can be found is found. Nothing is extracted."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.progress import progress

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# By how a file begins.
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"]\0\0\x80": lzma.open}
_CHUNK_BYTES = 1 << 20


class _Entry(tarfile.TarInfo):
    """A member whose header, if damaged, is an error: tarfile takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        return _told(super().frombuf, buf, encoding, errors)

    @classmethod
    def _frombuf(cls, buf, encoding, errors, **settings):  # which newer versions of Python call in its place
        return _told(super()._frombuf, buf, encoding, errors, **settings)


def _told(read, buf, *arguments, **settings):
    """What reads a header, but for damage, which is an error of its own."""
    if buf and not buf.strip(b"\0"):
        buf = bytes(tarfile.BLOCKSIZE)  # the padding at the end may be of any length
    try:
        return read(buf, *arguments, **settings)
    except tarfile.HeaderError as error:
        if not buf.strip(b"\0"):  # padding, or the end of the file
            raise
        raise tarfile.ReadError(f"the header of a file is damaged: {error}") from error


def members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a tar, each to be read before the next is asked for.

    A compressed tar is first read to its end, because its checksum is told only there.

    Args:
        path: the tar.

    Raises:
        UserError: it is damaged, or no tar.
    """
    with reading(path):
        is_tar = path.name.lower().endswith(SUFFIXES) or tarfile.is_tarfile(path)
    if not is_tar:
        raise UserError(
            f"{path} is not a folder or a tar of images ({', '.join(SUFFIXES)}): unpack it if it is a zip, save the "
            "images as files if it is a pickle, and give the folder that they are in."
        )
    with reading(path), open(path, "rb") as file:
        begin = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in _COMPRESSED.items() if begin.startswith(magic)), None)
        if opener:
            _read_to_the_end(file, opener, path)
        with opener(file) if opener else file as contents:
            yield from _members(contents)


def _members(contents: BinaryIO):
    # Zeros end an archive, but another one may follow them.
    with tarfile.open(fileobj=contents, mode="r|", tarinfo=_Entry, ignore_zeros=True) as archive:
        end = 0
        for entry in archive:
            end = archive.offset
            yield archive, entry
        if archive.offset == end:
            raise tarfile.ReadError("the end is missing")


def _read_to_the_end(file: BinaryIO, opener, path: Path) -> None:
    with opener(file) as contents, progress(path.stat().st_size, f"Checking {path}", "byte") as shown:
        place = 0
        while contents.read(_CHUNK_BYTES):
            shown.update(file.tell() - place)
            place = file.tell()
    file.seek(0)
