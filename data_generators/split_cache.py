"""A split's images, decoded once into one array on disk, which is then memory-mapped.

Beside the folders of images stand, for each split, `decoded_<split>_<height>x<width>x<channels>.json`, which tells what
it was made from and names the file of the array. That file is written first, under another name, a few images at a
time: a split is never held in memory, and a cache that has its json is whole.
"""

import io
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_generators.class_folders import ClassFolders
from data_generators.decoding import Decoder
from data_generators.episodes import ClassImages

_FORMAT = 1
_CHUNK = 256  # images decoded and written at a time
_ABANDONED_SECONDS = 3600  # a file that nobody has written to for so long is what a killed process left


def load_splits(data_dir: Path, folders: Mapping[str, ClassFolders | None], decoder: Decoder) -> dict[str, ClassImages]:
    """Opens the caches of several splits, by name; see `load_split`. Warns if a class is in more than one split."""
    loaded = {split: load_split(data_dir, split, classes, decoder) for split, classes in folders.items()}
    splits = {split: data for split, data in loaded.items() if data is not None}
    first: dict[str, str] = {}
    names = [(name, split) for split, data in splits.items() for name in data.names]
    shared = [(name, first[name], split) for name, split in names if first.setdefault(name, split) != split]
    if shared:
        name, *where = shared[0]
        more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        message = "class %s%s is in both %s and %s, so that figures on the latter are no figures on new classes"
        logging.getLogger(__name__).warning(message, name, more, *where)
    return splits


def load_split(
    data_dir: Path,
    split: str,
    folders: ClassFolders | None,
    decoder: Decoder,
) -> ClassImages | None:
    """Opens the cache of a split, which is made first if it is missing, damaged, or not made from what is there now.

    Where it cannot be written, a warning is logged and the images are decoded into memory every time.

    Args:
        data_dir: the folder of the cache.
        split: its name.
        folders: the images; None if they are gone, and then the cache is taken as it is.
        decoder: decodes the images, to the shape that the cache must have.

    Returns:
        ClassImages, or None if there is neither a cache nor an image.

    Raises:
        UserError: an image cannot be decoded. An older cache is left as it was then.
    """
    cache = data_dir / f"decoded_{split}_{'x'.join(map(str, decoder.shape))}.json"
    found = _read(cache, folders.fingerprint if folders else None, decoder.shape)
    if found is not None or folders is None:
        return found
    lengths = [len(images) for images in folders.images.values()]
    shape = (sum(lengths), *decoder.shape)
    try:
        images = _write(cache, folders, shape, decoder)
    except OSError as error:
        logging.getLogger(__name__).warning("%s will be decoded anew each time: %s", folders.path, error)
        images = np.empty(shape, np.uint8)
        start = 0
        for chunk in _decoded(folders, decoder):
            images[start : start + len(chunk)] = chunk
            start += len(chunk)
    decoder.report()
    return _class_images(images, lengths, folders.images)


def _read(cache: Path, fingerprint: str | None, shape: tuple[int, ...]) -> ClassImages | None:
    try:
        made = json.loads(cache.read_text(encoding="utf-8"))
        if made["format"] != _FORMAT or fingerprint not in (None, made["fingerprint"]):
            return None
        path, names, lengths = cache.with_name(made["images"]), made["names"], made["lengths"]
        shape = (sum(lengths), *shape)
        header = _header(shape)
        with open(path, "rb") as file:
            whole = file.read(len(header)) == header and file.seek(0, os.SEEK_END) == len(header) + math.prod(shape)
        return _class_images(np.load(path, mmap_mode="r"), lengths, names) if whole else None
    except (OSError, LookupError, ValueError, TypeError, AttributeError):
        return None


def _header(shape: tuple[int, ...]) -> bytes:
    """How a .npy file of uint8 begins."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _write(cache: Path, folders: ClassFolders, shape: tuple[int, ...], decoder: Decoder) -> np.ndarray:
    """Writes the array, then the json that names it, then deletes arrays of before; returns the array, memory-mapped.

    The array goes through plain writes, because a full disk ends a process that writes through a memory map.
    """
    path = cache.with_name(f"{cache.stem}.{folders.fingerprint[:16]}.npy")
    for part in cache.parent.glob(f"{cache.stem}.*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                part.unlink()
    with _replacing(path) as part, open(part, "wb") as file, closing(_decoded(folders, decoder)) as chunks:
        file.write(_header(shape))
        for images in chunks:
            file.write(images)
    made = {"format": _FORMAT, "fingerprint": folders.fingerprint, "images": path.name}
    made |= {"names": list(folders.images), "lengths": [len(images) for images in folders.images.values()]}
    with _replacing(cache) as part:
        part.write_text(json.dumps(made), encoding="utf-8")
    for old in cache.parent.glob(f"{cache.stem}.*.npy"):
        if old != path:
            with suppress(OSError):
                old.unlink()
    return np.load(path, mmap_mode="r")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Gives another name to write a file under, which is then put in the place of path."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


def _decoded(folders: ClassFolders, decoder: Decoder) -> Iterator[np.ndarray]:
    """The images in their order, uint8 [a few, height, width, channels] at a time."""
    paths = folders.paths()
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(paths), desc=f"Decoding {folders.path}", unit="image", disable=None) as progress,
    ):
        for start in range(0, len(paths), _CHUNK):
            images = np.stack(list(pool.map(decoder, paths[start : start + _CHUNK])))
            progress.update(len(images))
            yield images


def _class_images(images: np.ndarray, lengths, names) -> ClassImages:
    lengths = np.array(lengths)
    return ClassImages(images, np.cumsum(lengths) - lengths, lengths, tuple(names))
