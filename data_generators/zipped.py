"""Lists, checks and reads images in a zip, without extracting them; reading an image verifies its checksum."""

import threading
import zipfile
from pathlib import Path

from data_generators.class_folders import is_visible, refuse_outside
from data_generators.errors import UserError
from data_generators.files import reading

SUFFIX = ".zip"
MAX_BYTES = 1 << 26  # the largest image of ImageNet has about 15 MB


class Zip:
    """The visible files in a zip; may be read from several threads.

    names: sorted names of the files, with their folders.

    Args:
        path: path of the zip.

    Raises:
        UserError: it is damaged, or holds what no zip of images needs: names that lead outside its folder, a name
            twice, or very long files.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        with reading(path):
            self._archive = zipfile.ZipFile(path)
            self._entries = self._listed()
        self.names = sorted(self._entries)

    def check(self) -> None:
        """Compares each file's name with that before its contents; UserError if they differ, or a file is encrypted."""
        with reading(self.path), self._lock:
            for entry in self._archive.infolist():
                self._archive.open(entry).close()

    def read(self, name: str) -> bytes:
        """The contents of a file; UserError if they are damaged."""
        with reading(f"{self.path}: {name}"), self._lock:
            return self._archive.read(self._entries[name])

    def _listed(self) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            parts = refuse_outside(self.path, entry.filename)
            name = "/".join(parts)
            if entry.is_dir() or not all(map(is_visible, parts)):
                continue
            if name in entries:
                raise UserError(f"{self.path} holds {entry.filename} twice.")
            if entry.file_size > MAX_BYTES:
                raise UserError(
                    f"{self.path}: {entry.filename} is longer than {MAX_BYTES:,} bytes, so it is not an image."
                )
            entries[name] = entry
        return entries
