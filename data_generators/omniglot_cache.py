"""The file that keeps Omniglot's decoded images, so that a run starts at once."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_generators.files import DAMAGE, replacing

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
    characters, images, side = shape
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as cache:
            made = json.loads(str(cache["made"]))
            bits, names = cache["bits"], cache["names"].tolist()
        if made["format"] != _FORMAT or not fingerprints.items() <= {**made["from"]}.items():
            return None
        if len(names) != characters or names != sorted(set(map(str, names))):
            return None
        if bits.shape != (characters * images, side * side // 8):
            return None
        return np.unpackbits(bits, axis=1).reshape(-1, side, side, 1) * np.uint8(255), names
    except DAMAGE:
        return None


def write(path: Path, fingerprints: Mapping[str, str], images: np.ndarray, names: list[str]) -> None:
    """Writes the cache.

    Args:
        path: the cache.
        fingerprints: of each source that it was made from.
        images: uint8 [images, side, side, 1] that are 0 or 255.
        names: the names of the characters.

    Raises:
        OSError: it cannot be written; an older cache is left as it was.
    """
    # A loss of power may leave it half on the disk, which the checksums of a zip will tell.
    made = json.dumps({"format": _FORMAT, "from": dict(fingerprints)})
    bits = np.packbits(images.reshape(len(images), -1) > 0, axis=1)
    with replacing(path, durable=False) as part, open(part, "wb") as file:
        np.savez(file, made=made, bits=bits, names=names)
