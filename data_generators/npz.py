"""Reads arrays of an .npz file; a large one is unpacked into a temporary file, so it is never whole in memory."""

import shutil
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from data_generators.files import reading


def names(path: Path) -> list[str]:
    """The names of the arrays in a file; UserError if it is damaged, or not an .npz file."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def array(path: Path, name: str) -> np.ndarray:
    """Reads an array into memory.

    Raises:
        UserError: it is damaged, or holds Python objects, which are not read.
    """
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        return arrays[name]


def mapped(path: Path, name: str) -> np.ndarray:
    """Memory-maps an array: unpacks it into a temporary file, which is deleted with the array.

    Args:
        path: path of the .npz file. The temporary file is beside it or, if that fails, in the system's usual place.
        name: name of the array.

    Raises:
        UserError: it does not match its checksum; it holds Python objects; or there is no room for it.
    """
    with (
        reading(path),
        zipfile.ZipFile(path) as archive,
        archive.open(f"{name}.npy") as packed,
        _temporary(path.parent) as file,  # the map stays valid when the file is gone
    ):
        shutil.copyfileobj(packed, file, 1 << 20)
        file.seek(0)
        version = np.lib.format.read_magic(file)
        header: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = header(file)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        order: Any = "F" if in_columns else "C"
        return np.memmap(file, dtype, "r", file.tell(), shape, order)


def one_of(path: Path, wanted: Collection[str]) -> str:
    """The one of these names that an array has; UserError if none of them, or several, are names of arrays."""
    there = names(path)
    found = [name for name in wanted if name in there]
    if len(found) != 1:
        with reading(path, "save its arrays as images and labels"):
            raise ValueError(f"it holds {', '.join(there[:10]) or 'nothing'} where {' or '.join(wanted)} must be")
    return found[0]


def _temporary(folder: Path) -> Any:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()
