"""Where the images of miniImagenet may come from: folders, however deep, and tars; nothing is ever extracted."""

import functools
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from data_generators import tars
from data_generators.class_folders import is_image, is_visible
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.miniimagenet import SUFFIXES

_MAX_BYTES = 1 << 26  # the longest image of ImageNet has some 15 MB


class SourceImage(NamedTuple):
    """An image that was found.

    name: as in Ravi and Larochelle's csv files, n0153282900000005.jpg for example.
    where: what to call it in errors.
    read: gives its bytes; of an image in a tar only before the next image is asked for.
    """

    name: str
    where: str
    read: Callable[[], bytes]


def images_in(source: Path, skip: Collection[Path] = ()) -> Iterator[SourceImage]:
    """Finds the images in a tar, or in a folder, the folders below it, and the tars that lie in it.

    In a folder of ImageNet's own, <class>/<class>_<number>.JPEG, the images are named as in the csv files: by their
    class and their position, from 1, in the order of the numbers. That is right only where none is left out.

    Args:
        source: the tar or folder.
        skip: folders to leave out.

    Raises:
        UserError: source does not exist, is neither a folder nor a tar, or is damaged; or a tar holds what no tar of
            images needs: links, devices, very long files, or names that lead outside its folder.
    """
    with reading(source):
        is_folder, is_file = source.is_dir(), source.is_file()
    if is_folder:
        yield from _in_folder(source, {os.path.realpath(folder) for folder in skip})
        for file in _tars_in(source):
            yield from _in_tar(file)
    elif is_file:
        yield from _in_tar(source)
    else:
        raise UserError(f"{source} does not exist: give --source the folder or tar that holds the images.")


def _tars_in(folder: Path) -> list[Path]:
    with reading(folder):
        names = sorted(name for name in os.listdir(folder) if is_visible(name) and name.lower().endswith(tars.SUFFIXES))
        return [folder / name for name in names if (folder / name).is_file()]


def _in_folder(source: Path, skip: Collection[str]) -> Iterator[SourceImage]:
    for path, folders, files in os.walk(source, onerror=_refuse_unreadable):
        folder = Path(path)
        folders[:] = sorted(
            name for name in folders if is_visible(name) and os.path.realpath(folder / name) not in skip
        )
        for name, file in _named_as_in_the_csv(folder.name, sorted(files)):
            if is_image(file, SUFFIXES):
                yield SourceImage(name, str(folder / file), lambda path=folder / file: _contents(path))


def _named_as_in_the_csv(label: str, files: list[str]) -> Iterator[tuple[str, str]]:
    numbers = {file: re.fullmatch(rf"{re.escape(label)}_(\d+)\.JPEG", file) for file in files}
    numbered = sorted((int(match[1]), file) for file, match in numbers.items() if match)
    yield from ((file, file) for file, match in numbers.items() if not match)
    yield from ((f"{label}{position:08d}.jpg", file) for position, (_, file) in enumerate(numbered, start=1))


def _contents(path: Path) -> bytes:
    with reading(path):
        if not path.is_file():
            raise UserError(f"{path} is not a file: remove it.")
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is longer than {_MAX_BYTES:,} bytes, so it is not an image of this data set.")
        return path.read_bytes()


def _in_tar(path: Path) -> Iterator[SourceImage]:
    for archive, entry in tars.members(path):
        _refuse_unsafe(path, entry)
        *folders, name = entry.name.split("/")
        if entry.isfile() and all(map(is_visible, folders)) and is_image(name, SUFFIXES):
            read = functools.partial(_member, archive, entry, path)
            yield SourceImage(name, f"{path}: {entry.name}", read)


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> bytes:
    with reading(path), archive.extractfile(entry) as file:
        return file.read()


def _refuse_unreadable(error: OSError) -> None:
    with reading(error.filename):
        raise error


def _refuse_unsafe(path: Path, entry: tarfile.TarInfo) -> None:
    parts = entry.name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0]:
        raise UserError(f"{path} is not safe: its entry {entry.name!r} leads outside its folder.")
    if not (entry.isfile() or entry.isdir()):
        raise UserError(f"{path} is not safe: its entry {entry.name!r} is a link or a device.")
    if entry.size > _MAX_BYTES:
        raise UserError(f"{path}: {entry.name} is longer than {_MAX_BYTES:,} bytes, so it is not an image.")
