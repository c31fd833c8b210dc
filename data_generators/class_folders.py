"""Lists images in folders, <split>/<class>/<image>."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from data_generators.decoding import Decoder
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.splits import KNOWN_AS, SPLITS


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """The images of some classes.

    path: the folder with one folder for each class.
    images: the sorted names of each class's images, by the name of the class; the classes are sorted too.
    fingerprint: changes whenever an image is added, removed, renamed or written.
    """

    path: Path
    images: dict[str, list[str]]
    fingerprint: str

    def paths(self) -> list[Path]:
        """The paths of all images, class after class."""
        return [self.path / name / image for name, images in self.images.items() for image in images]

    def open(self) -> "ClassFolders":
        """See `image_folders.Classes`."""
        return self

    def decode(self, decoder: Decoder, image: Path) -> np.ndarray:
        """See `image_folders.Classes`."""
        return decoder(image)


def list_classes(
    path: str | Path, suffixes: Collection[str], wanted: Callable[[str], bool] = lambda name: True
) -> ClassFolders | None:
    """Lists the images <class>/<image> below a folder.

    Files that are hidden, or have another suffix, are ignored. A folder without any image is not a class; a warning
    names it.

    Args:
        path: the folder.
        suffixes: suffixes of the image files, in lower case, ".jpg" for example.
        wanted: function that decides by a folder's name whether it is listed.

    Returns:
        ClassFolders, or None if there is no image.

    Raises:
        UserError: a folder cannot be read.
    """
    path = Path(path)
    images, marks, empty = {}, [], []
    with reading(path):
        folders = [f for f in _visible(path) if wanted(f.name) and f.is_dir()] if path.is_dir() else []
        for folder in folders:
            files = [file for file in _visible(folder) if is_image(file.name, suffixes) and _is_file(file)]
            marks += [(folder.name, file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
            if files:
                images[folder.name] = [file.name for file in files]
            else:
                empty.append(folder.path)
    if not images:
        return None
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        logging.getLogger(__name__).warning("%s%s holds no image, so it is not a class", empty[0], more)
    return ClassFolders(path, images, hashlib.sha256(repr(marks).encode()).hexdigest())


def list_splits(path: str | Path, suffixes: Collection[str]) -> dict[str, ClassFolders | None]:
    """Lists the images <split>/<class>/<image> below a folder, by split; see `list_classes`.

    The folders of splits may have any of the names in `splits.KNOWN_AS`, in upper case too.

    Raises:
        UserError: a folder cannot be read, or two folders are for the same split.
    """
    path, found = Path(path), {}
    with reading(path):
        entries = _visible(path) if path.is_dir() else []
        names = [entry.name for entry in entries if entry.name.lower() in KNOWN_AS]
    for name in names:
        split, classes = KNOWN_AS[name.lower()], list_classes(path / name, suffixes)
        if classes and split in found:
            raise UserError(
                f"{path} has two folders of the split {split}, {found[split].path.name} and {name}: keep one"
            )
        if classes:
            found[split] = classes
    return {split: found.get(split) for split in SPLITS}


def is_image(name: str, suffixes: Collection[str]) -> bool:
    """Whether a file of this name is an image, and not one of the hidden files that systems leave."""
    return is_visible(name) and Path(name).suffix.lower() in suffixes


def refuse_outside(archive: Path, name: str) -> list[str]:
    """The parts of the name of an archive's entry; raises UserError if it leads outside the archive's folder."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0]:
        raise UserError(f"{archive} is not safe: its entry {name!r} leads outside its folder.")
    return parts


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is the user's, and neither hidden nor the shadow folder of macOS."""
    return not name.startswith((".", "__MACOSX"))


def _is_file(entry: os.DirEntry) -> bool:
    """Whether an entry is a file or a broken link; for the link, `stat` then fails, so no image is lost silently."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry))


def _visible(path) -> list[os.DirEntry]:
    with os.scandir(path) as entries:
        return sorted((entry for entry in entries if is_visible(entry.name)), key=lambda entry: entry.name)
