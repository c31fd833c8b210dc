"""Images by class, decoded once into an array on disk.

The array is memory-mapped, so a split is never held in memory. The cache of a split is beside its images: the array,
and `decoded_<split>_<height>x<width>x<channels>.json`, which records what the array was made from, the name of its
file, and a checksum of the classes and the array. The array is written first, a few images at a time, so a cache that
has its json is complete.
"""

import functools
import io
import json
import logging
import math
import os
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_generators.decoding import Decoder
from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.files import DAMAGE, remove_abandoned, replacing
from data_generators.progress import progress, say

_FORMAT = 2
_UNCHECKED_FORMAT = 1  # of earlier versions, without a checksum
_CHUNK = 256  # images decoded and written at a time, ...
_CHUNK_BYTES = 1 << 26  # ... but fewer if they have more bytes than this


class Classes(Protocol):
    """What a cache is made from: `class_folders.ClassFolders`, or images in another form."""

    @property
    def path(self) -> Path:
        """The path of the folder or file, for errors."""

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the images change; it is found without reading them."""

    @property
    def images(self) -> Mapping[str, Sized]:
        """The images of each class, by its name; available only after `open`."""

    def open(self) -> "Classes":
        """Reads what the fingerprint does not need, and returns the opened classes."""

    def paths(self) -> Sequence[Any]:
        """The argument `image` of `decode` for every image, class after class."""

    def decode(self, decoder: Decoder, image: Any) -> np.ndarray:
        """Decodes an image to uint8 of the decoder's shape [height, width, channels]; called from several threads."""


def load_splits(
    data_dir: Path,
    folders: Mapping[str, Classes | None],
    decoder: Decoder,
    shared: Callable[[str, Mapping[str, ClassImages]], None] | None = None,
) -> dict[str, ClassImages]:
    """Opens the caches of several splits, by name; see `load_split`.

    Args:
        data_dir, decoder: as for `load_split`.
        folders: the images of each split; None if they are gone.
        shared: function that is called with a sentence and the splits if a class is in more than one of them; by
            default, the sentence is logged as a warning.
    """
    loaded = {split: load_split(data_dir, split, classes, decoder) for split, classes in folders.items()}
    splits = {split: data for split, data in loaded.items() if data is not None}
    for split in splits:
        if folders[split] is None and any(folders.values()):  # all are gone on purpose, one may be by mistake
            say(f"{data_dir} has images, but none of {split}: those that were decoded earlier stand in for them")
    first: dict[str, str] = {}
    names = [(name, split) for split, data in splits.items() for name in data.names]
    twice = [(name, first[name], split) for name, split in names if first.setdefault(name, split) != split]
    if twice:
        name, one, other = twice[0]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        where = f"is in both {one} and {other}, so that a test on the latter is no test on new classes"
        if shared:
            shared(f"class {name}{more} {where}", splits)
        else:
            logging.getLogger(__name__).warning("class %s%s %s", name, more, where)
    return splits


def load_split(
    data_dir: Path,
    split: str,
    folders: Classes | None,
    decoder: Decoder,
) -> ClassImages | None:
    """Opens the cache of a split; makes it first if it is missing, damaged, or not made from the present images.

    If it cannot be written, a warning is logged and the images are decoded into memory every time.

    Args:
        data_dir: the folder of the cache.
        split: name of the split.
        folders: the images; None if they are gone, and then the cache is used as it is.
        decoder: decodes the images, to the shape that the cache must have.

    Returns:
        ClassImages, or None if there is neither a cache nor an image.

    Raises:
        UserError: an image cannot be decoded (an older cache is then left as it was); the images are gone and the cache
            is damaged; or neither the disk nor the memory has room for the decoded images.
    """
    cache = data_dir / f"decoded_{split}_{'x'.join(map(str, decoder.shape))}.json"
    found = _read(cache, folders.fingerprint if folders else None, decoder.shape)
    if found is None and folders is None and cache.exists():
        raise UserError(
            f"{cache} or its array is damaged, and the images that it was made from are gone: put them back, and it "
            "will be made again, or remove it."
        )
    if found is not None or folders is None:
        return found
    folders = folders.open()
    lengths = [len(images) for images in folders.images.values()]
    shape = (sum(lengths), *decoder.shape)
    try:
        images = _write(cache, folders, shape, decoder)
    except OSError as error:
        logging.getLogger(__name__).warning("%s will be decoded again each time: %s", folders.path, error)
        images = _in_memory(folders, shape, decoder)
    decoder.report()
    return _class_images(images, lengths, folders.images)


def _read(cache: Path, fingerprint: str | None, shape: tuple[int, ...]) -> ClassImages | None:
    try:
        made = json.loads(cache.read_text(encoding="utf-8"))
        unchecked = made["format"] == _UNCHECKED_FORMAT
        if fingerprint is not None and (unchecked or fingerprint != made["fingerprint"]):
            return None
        if not unchecked and made["format"] != _FORMAT:
            return None
        path, names, lengths = cache.with_name(made["images"]), made["names"], made["lengths"]
        found = _checksum_of_file(path, (sum(lengths), *shape), _checksum_of_classes(names, lengths))
        if found is None or found != (found if unchecked else made["checksum"]):
            return None
        images = np.load(path, mmap_mode="r")
    except DAMAGE:
        return None
    if unchecked:
        logging.getLogger(__name__).warning("%s is of an earlier version: damage to it would not be noticed", cache)
    return _class_images(images, lengths, names)


def _checksum_of_classes(names: list[str], lengths: list[int]) -> int:
    if len(names) != len(lengths) or not all(isinstance(name, str) for name in names) or min(lengths) < 1:
        raise ValueError("the classes are not as they are written")
    return zlib.crc32(json.dumps([names, lengths]).encode())


def _checksum_of_file(path: Path, shape: tuple[int, ...], checksum: int) -> int | None:
    """Continues a checksum with the array in a file; None if the file does not hold an array of this shape."""
    header, buffer = _header(shape), memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        if file.read(len(header)) != header:
            return None
        while count := file.readinto(buffer):
            checksum = zlib.crc32(buffer[:count], checksum)
        return checksum if file.tell() == len(header) + math.prod(shape) else None


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of uint8."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _write(cache: Path, folders: Classes, shape: tuple[int, ...], decoder: Decoder) -> np.ndarray:
    """Writes the array, then the json that names it, then deletes older arrays; returns the array, memory-mapped.

    The array is written by plain writes, because a full disk kills a process that writes through a memory map. The
    checksum detects an array that a loss of power left incomplete.
    """
    names, lengths = list(folders.images), [len(images) for images in folders.images.values()]
    path = cache.with_name(f"{cache.stem}.{folders.fingerprint[:16]}.npy")
    remove_abandoned(cache.with_name(cache.stem))  # half-written arrays, whatever their images
    checksum = _checksum_of_classes(names, lengths)
    with (
        replacing(path, durable=False) as part,
        open(part, "wb") as file,
        closing(_decoded(folders, decoder)) as chunks,
    ):
        file.write(_header(shape))
        for images in chunks:
            file.write(images.data)
            checksum = zlib.crc32(images.data, checksum)
    made = {"format": _FORMAT, "fingerprint": folders.fingerprint, "images": path.name, "checksum": checksum}
    with replacing(cache, durable=False) as part:
        part.write_text(json.dumps(made | {"names": names, "lengths": lengths}), encoding="utf-8")
    for old in cache.parent.glob(f"{cache.stem}.*.npy"):
        if old != path:
            with suppress(OSError):
                old.unlink()
    return np.load(path, mmap_mode="r")


def _in_memory(folders: Classes, shape: tuple[int, ...], decoder: Decoder) -> np.ndarray:
    try:
        if math.prod(shape) > _memory():  # the system would allocate it, and kill the process when it is used
            raise MemoryError
        images = np.empty(shape, np.uint8)
    except MemoryError as error:
        number, height, width, _ = shape
        raise UserError(
            f"{folders.path}: {number:,} images of {width:,}x{height:,} pixels need {math.prod(shape) / 1e9:.1f} GB, "
            "and neither the disk nor the memory has room for them: free some"
            f"{', or use a smaller --image_size' if decoder.resize else ''}."
        ) from error
    start = 0
    for chunk in _decoded(folders, decoder):
        images[start : start + len(chunk)] = chunk
        start += len(chunk)
    return images


def _memory() -> float:
    """Bytes of this machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system reports it
        return math.inf


def _decoded(folders: Classes, decoder: Decoder) -> Generator[np.ndarray, None, None]:
    """The images in their order, uint8 [a few, height, width, channels] at a time."""
    paths, decode = folders.paths(), functools.partial(folders.decode, decoder)
    few = max(1, min(_CHUNK, _CHUNK_BYTES // math.prod(decoder.shape)))
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        progress(len(paths), f"Decoding {folders.path}", "image") as shown,
    ):
        for start in range(0, len(paths), few):
            images = np.ascontiguousarray(np.stack(list(pool.map(decode, paths[start : start + few]))))
            shown.update(len(images))
            yield images


def _class_images(images: np.ndarray, lengths, names) -> ClassImages:
    lengths = np.array(lengths)
    return ClassImages(images, np.cumsum(lengths) - lengths, lengths, tuple(names))
