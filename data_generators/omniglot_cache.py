"""The file that keeps Omniglot's decoded images, so that a run starts at once."""

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

NAME = "omniglot_28x28.npz"
_FORMAT = 1


def read(
    path: Path, fingerprints: Mapping[str, str], shape: tuple[int, int, int]
) -> tuple[np.ndarray, list[str]] | None:
    """Reads the cache, or returns None if it is missing, damaged, or not made from the sources that are there now.

    Args:
        path: the cache.
        fingerprints: of each source that is there; one that has gone since is no reason to distrust the cache.
        shape: characters, images per character, and pixels per side that it must hold.

    Returns:
        uint8 [images, side, side, 1] that are 0 or 255, and the names of the characters.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as cache:
            made = json.loads(str(cache["made"]))
            bits, names = cache["bits"], cache["names"].tolist()
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile):
        return None
    if made["format"] != _FORMAT or any(made["from"].get(name) != value for name, value in fingerprints.items()):
        return None
    characters, images, side = shape
    if len(names) != characters or bits.shape != (characters * images, side * side // 8):
        return None
    return np.unpackbits(bits, axis=1).reshape(-1, side, side, 1) * np.uint8(255), names


def write(path: Path, fingerprints: Mapping[str, str], images: np.ndarray, names: list[str]) -> None:
    """Writes the cache under another name and then puts it in place.

    Args:
        path: the cache.
        fingerprints: of each source that it was made from.
        images: uint8 [images, side, side, 1] that are 0 or 255.
        names: the names of the characters.

    Raises:
        OSError: it cannot be written; an older cache is left as it was.
    """
    made = json.dumps({"format": _FORMAT, "from": dict(fingerprints)})
    bits = np.packbits(images.reshape(len(images), -1) > 0, axis=1)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            np.savez(file, made=made, bits=bits, names=names)
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()
