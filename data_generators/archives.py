"""Folders and zip files of images, read alike: what they hold is listed and checked, and nothing is ever extracted."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from data_generators.errors import UserError
from data_generators.files import reading


class ImageFolder:
    """The PNG files group/class/file.png below a folder.

    Args:
        path: the folder.
        max_bytes: no image may be longer than this.
    """

    def __init__(self, path: Path, max_bytes: int):
        self.path = path
        self._max_bytes = max_bytes

    def is_empty(self) -> bool:
        """Whether there is no image at all; found out without listing them."""
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
    """The PNG files group/class/file.png in a zip, or in the folder of the zip's own name in it.

    Args:
        path: the zip.
        max_bytes: no image may be longer than this.
        max_total: all files in it may not be longer than this together.
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
            raise UserError(
                f"{self.path} would unpack to {total:,} bytes, and no more than {self._max_total:,} are read."
            )
        images = {}
        for entry in entries:
            path = entry.filename.replace("\\", "/")
            parts = path.split("/")
            if ".." in parts or not parts[0] or ":" in parts[0]:
                raise UserError(f"{self.path} is not safe: its entry {entry.filename!r} leads outside its folder.")
            name = path.removeprefix(f"{self.path.stem}/")
            if name in images:
                raise UserError(f"{self.path} holds {entry.filename} twice.")
            if name.count("/") == 2 and _is_image(name):
                images[name] = entry
        return images


def _is_image(name: str) -> bool:
    """Whether this is part of the data set: systems leave hidden files, and macOS a shadow folder in its zips."""
    return name.lower().endswith(".png") and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _bounded(file, name, max_bytes: int) -> bytes:
    """Reads a file whole, but no more than max_bytes, whatever length it claims to have."""
    contents = file.read(max_bytes + 1)
    if len(contents) > max_bytes:
        raise UserError(f"{name} is longer than {max_bytes:,} bytes, so it is not an image of this data set.")
    return contents
