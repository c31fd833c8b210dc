"""Lists, checks and reads images in zips, tars and folders, without extracting them; and downloads single files.

All damage that can be detected is detected: a tar is read to its end, and a download's size and checksum are checked.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from data_generators.class_folders import refuse_outside
from data_generators.errors import UserError
from data_generators.files import reading, replacing
from data_generators.progress import progress

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# Functions that open compressed files, by the bytes that a file begins with.
_COMPRESSED: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"]\0\0\x80": lzma.open,
}
_CHUNK_BYTES = 1 << 20  # of a compressed tar, checked at a time
_CONNECT_SECONDS = 30  # without an answer, after which a download is given up
_DOWNLOAD_BYTES = 1 << 16  # read at a time


class ImageFolder:
    """The PNG files group/class/file.png below a folder.

    Args:
        path: the folder.
        max_bytes: largest allowed length of an image.
    """

    def __init__(self, path: Path, max_bytes: int):
        self.path = path
        self._max_bytes = max_bytes

    def is_empty(self) -> bool:
        """Whether there is no image at all; stops at the first image."""
        return next(self._images(), None) is None

    def fingerprint(self) -> str:
        """Changes whenever an image is added, removed or renamed, but not when one is edited in place."""
        with reading(self.path):
            classes = ((folder.relative_to(self.path).as_posix(), folder.stat()) for folder in self.path.glob("*/*"))
            times = sorted((name, status.st_mtime_ns) for name, status in classes)
        return hashlib.sha256(repr(times).encode()).hexdigest()

    def names(self) -> list[str]:
        """The names group/class/file.png of all images, sorted."""
        with reading(self.path):
            return sorted(self._images())

    def read(self) -> Iterator[tuple[str, bytes]]:
        """The name and the contents of each image, in the order of `names`."""
        for name in self.names():
            file_path = self.path / name
            with reading(file_path), open(file_path, "rb") as file:
                contents = _bounded(file, file_path, self._max_bytes)
            yield name, contents

    def _images(self) -> Iterator[str]:
        names = (file.relative_to(self.path).as_posix() for file in self.path.glob("*/*/*"))
        return (name for name in names if _is_image(name))


class ImageZip:
    """The PNG files group/class/file.png in a zip; they may be inside a folder that has the name of the zip.

    Args:
        path: the zip.
        max_bytes: largest allowed length of an image.
        max_total: largest allowed length of all files together.
    """

    def __init__(self, path: Path, max_bytes: int, max_total: int):
        self.path = path
        self._max_bytes = max_bytes
        self._max_total = max_total

    def fingerprint(self) -> str:
        """Changes whenever the zip is written."""
        with reading(self.path):
            status = self.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def names(self) -> list[str]:
        """The names group/class/file.png of all images, sorted."""
        with reading(self.path), zipfile.ZipFile(self.path) as archive:
            return sorted(self._images(archive))

    def read(self) -> Iterator[tuple[str, bytes]]:
        """The name and the contents of each image, in the order of `names`."""
        with reading(self.path), zipfile.ZipFile(self.path) as archive:
            for name, entry in sorted(self._images(archive).items()):
                with archive.open(entry) as file:
                    contents = _bounded(file, f"{self.path}: {entry.filename}", self._max_bytes)
                yield name, contents

    def _images(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > self._max_total:
            raise UserError(f"{self.path} would unpack to {total:,} bytes, but at most {self._max_total:,} are read.")
        images = {}
        for entry in entries:
            path = "/".join(refuse_outside(self.path, entry.filename))
            name = path.removeprefix(f"{self.path.stem}/")
            if name in images:
                raise UserError(f"{self.path} holds {entry.filename} twice.")
            if name.count("/") == 2 and _is_image(name):
                images[name] = entry
        return images


def _is_image(name: str) -> bool:
    """Whether a file is an image of the data set, and neither hidden nor in the shadow folder of macOS's zips."""
    return name.lower().endswith(".png") and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _bounded(file, name, max_bytes: int) -> bytes:
    """Reads a whole file, whatever length it claims to have; UserError if it is longer than max_bytes."""
    contents = file.read(max_bytes + 1)
    if len(contents) > max_bytes:
        raise UserError(f"{name} is longer than {max_bytes:,} bytes, so it is not an image of this data set.")
    return contents


class _Entry(tarfile.TarInfo):
    """A member whose damaged header is an error; tarfile itself would take it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        return _told(super().frombuf, buf, encoding, errors)

    @classmethod
    def _frombuf(cls, buf, encoding, errors, **settings):  # newer Pythons call this instead
        return _told(super()._frombuf, buf, encoding, errors, **settings)


def _told(read, buf, *arguments, **settings):
    """Reads a header by `read`; raises tarfile.ReadError if it is damaged."""
    if buf and not buf.strip(b"\0"):
        buf = bytes(tarfile.BLOCKSIZE)  # the padding at the end may be of any length
    try:
        return read(buf, *arguments, **settings)
    except tarfile.HeaderError as error:
        if not buf.strip(b"\0"):  # padding, or the end of the file
            raise
        raise tarfile.ReadError(f"the header of a file is damaged: {error}") from error


def members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yields the members of a tar; each must be read before the next is requested.

    A compressed tar is first read to its end, because its checksum is there.

    Args:
        path: the tar.

    Raises:
        UserError: it is damaged, or not a tar.
    """
    with reading(path):
        is_tar = path.name.lower().endswith(SUFFIXES) or tarfile.is_tarfile(path)
    if not is_tar:
        raise UserError(
            f"{path} is not a folder, a zip or a tar of images ({', '.join(SUFFIXES)}): if it is a pickle, give the "
            "folder that it is in."
        )
    with reading(path), open(path, "rb") as file:
        begin = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in _COMPRESSED.items() if begin.startswith(magic)), None)
        if opener:
            _read_to_the_end(file, opener, path)
        with opener(file) if opener else file as contents:
            yield from _members(contents)


def _members(contents: BinaryIO | io.BufferedIOBase) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
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


class _AppearedError(Exception):
    """Another process put the file in its place while it was being downloaded."""


def fetch(url: str, path: str | Path, sha256: str, size: int) -> None:
    """Downloads url to path, unless path exists already: an existing file is neither checked nor touched.

    Args:
        url: address of the file.
        path: where to put it; its folder is made if it does not exist.
        sha256: the file's SHA-256, in hexadecimal.
        size: the file's length in bytes; reading stops beyond it.

    Raises:
        UserError: the file cannot be downloaded or written, or it is not the expected file.
    """
    path = Path(path)
    try:
        if path.exists():
            return
        with replacing(path) as part:
            found = _download(url, part, size)
            if found != sha256:
                raise UserError(
                    f"What {url} sent is not the expected {path.name} (its SHA-256 is {found}, not {sha256}): try "
                    f"again, or get the file elsewhere and put it at {path}."
                )
            if path.exists():
                raise _AppearedError
    except _AppearedError:
        return
    except UserError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"{path} is missing and could not be downloaded ({error}): get it from {url} and put it there."
        ) from error


def _download(url: str, part: Path, size: int) -> str:
    """Writes what url sends to part, at most one chunk beyond size; returns its SHA-256."""
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as response,
        open(part, "wb") as file,
        progress(size, f"Downloading {name}", "byte") as shown,
    ):
        received = 0
        while received <= size and (chunk := response.read(_DOWNLOAD_BYTES)):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            shown.update(len(chunk))
    if received < size:
        raise ConnectionError(f"the connection broke after {received:,} of {size:,} bytes")
    return digest.hexdigest()
