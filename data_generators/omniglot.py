"""Omniglot: 1623 handwritten characters, 20 images each, split 1100 / 100 / 423 as in the original.

The original resized the image files (data/omniglot_resized/resize_images.py), and shuffled the characters with
random.seed(1), beginning with the order of the file system. Here they are sorted first, so that every machine has the
same split. The decoded images are cached in a file, so that the next run starts at once.
"""

import dataclasses
import json
import logging
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from data_generators.archives import ImageFolder, ImageZip, fetch
from data_generators.decoding import checked
from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.files import DAMAGE, reading, replacing
from data_generators.progress import progress

BASE_URL = "https://github.com/brendenlake/omniglot/raw/master/python"
SIDE = 28  # pixels, as the paper uses them
ORIGINAL_SIDE = 105  # pixels, as they were published
NAME = "omniglot_28x28.npz"  # name of the cache's file

# Bounds on what is read: the largest image has less than 1 kB, and all of them together have 8.2 MB.
_MAX_IMAGE_BYTES = 1 << 16
_MAX_ZIP_BYTES = 1 << 26
_FLAT = "omniglot_resized"
_FORMAT = 1  # version of the cache's format


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the published zips: its name without ".zip", its characters, and what the download must be."""

    name: str
    characters: int
    sha256: str
    size: int


@dataclasses.dataclass(frozen=True)
class Edition:
    """What a complete Omniglot holds. Tests pass a small one."""

    parts: tuple[Part, ...]
    images_per_character: int
    train: int
    val: int

    @property
    def characters(self) -> int:
        """Characters in all parts together."""
        return sum(part.characters for part in self.parts)


OMNIGLOT = Edition(
    parts=(
        Part("images_background", 964, "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", 9_464_212),
        Part("images_evaluation", 659, "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", 6_462_886),
    ),
    images_per_character=20,
    train=1100,
    val=100,
)


def load_omniglot(
    data_dir: str | Path, download: bool = True, base_url: str = BASE_URL, edition: Edition = OMNIGLOT
) -> dict[str, ClassImages]:
    """Loads Omniglot from data_dir, which may hold any of these, looked for in this order:

    - images_background.zip and images_evaluation.zip, whatever their checksums, or folders of these names with
      <alphabet>/<character>/*.png in them; if one of the two is missing, it is downloaded,
    - omniglot_resized/<alphabet>/<character>/*.png, as in the original, or <alphabet>/<character>/*.png.

    The images are decoded once, into a cache beside them. The cache is used until the sources change, and also without
    the sources. If it cannot be written, a warning is logged and the images are decoded every time.

    Args:
        data_dir: the folder.
        download: whether to download what is missing, if there is no cache.
        base_url: the address that the zips are fetched from.
        edition: what a complete Omniglot holds.

    Returns:
        The characters of "train", "val" and "test"; images [32460, 28, 28, 1] with ink 255 and background 0.

    Raises:
        UserError: the data are missing, incomplete or damaged. Nothing on disk is changed then.

    Example:
        >>> splits = load_omniglot("data/omniglot")
        >>> {split: characters.num_classes for split, characters in splits.items()}
        {'train': 1100, 'val': 100, 'test': 423}
        >>> from maml_tf import Episodes
        >>> Episodes(splits, ways=5, shots=1, queries=1, rotate=True).sample(0, "train", 0, 32).support_x.shape
        (32, 5, 28, 28, 1)
    """
    data_dir = Path(data_dir)
    cache = data_dir / NAME
    with reading(data_dir):
        sources = _find(data_dir, edition)
    fingerprints = {name: source.fingerprint() for name, source in sources.items()}
    shape = (edition.characters, edition.images_per_character, SIDE)
    decoded = read_cache(cache, fingerprints, shape)
    if decoded is None:
        sources = sources if _FLAT in sources else _complete(sources, data_dir, download, base_url, edition)
        decoded = _decode(sources, edition)
        fingerprints = {name: source.fingerprint() for name, source in sources.items()}
        try:
            write_cache(cache, fingerprints, *decoded)
        except OSError as error:
            logging.getLogger(__name__).warning("Omniglot will be decoded again each time: %s", error)
    return _split(*decoded, edition)


def to_pixels(image: Image.Image) -> np.ndarray:
    """Shrinks a square image to uint8 [28, 28], ink (darker than mid-grey) 255 and background 0.

    The original asked Pillow for the LANCZOS filter, but a 1-bit image is always resized to the nearest pixel: row i
    comes from row floor((i + 0.5) * side / 28), and the images stay binary.
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.where(np.asarray(small.convert("L")) < 128, np.uint8(255), np.uint8(0))


def read_cache(
    path: Path, fingerprints: Mapping[str, str], shape: tuple[int, int, int]
) -> tuple[np.ndarray, list[str]] | None:
    """Reads the cache, or returns None if it is missing, damaged, or not made from the sources that are there now.

    Args:
        path: the cache.
        fingerprints: fingerprint of each source that exists; the cache stays valid if other sources have been deleted.
        shape: number of characters, images per character, and pixels per side that it must hold.

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


def write_cache(path: Path, fingerprints: Mapping[str, str], images: np.ndarray, names: list[str]) -> None:
    """Writes the cache.

    Args:
        path: the cache.
        fingerprints: fingerprint of each source that it was made from.
        images: uint8 [images, side, side, 1] that are 0 or 255.
        names: the names of the characters.

    Raises:
        OSError: it cannot be written; an older cache is left as it was.
    """
    # Not durable: if a loss of power leaves the file incomplete, its checksums (those of a zip) detect that.
    made = json.dumps({"format": _FORMAT, "from": dict(fingerprints)})
    bits = np.packbits(images.reshape(len(images), -1) > 0, axis=1)
    with replacing(path, durable=False) as part, open(part, "wb") as file:
        np.savez(file, made=made, bits=bits, names=names)


def _find(data_dir: Path, edition: Edition) -> dict[str, ImageFolder | ImageZip]:
    """Finds the parts that exist, by name; if there are none, the flat tree, under the name omniglot_resized."""
    found: dict[str, ImageFolder | ImageZip] = {}
    for part in edition.parts:
        if (data_dir / f"{part.name}.zip").is_file():
            found[part.name] = _zip(data_dir, part)
        elif (data_dir / part.name).is_dir():
            found[part.name] = ImageFolder(data_dir / part.name, _MAX_IMAGE_BYTES)
    if not found:
        for folder in (data_dir / _FLAT, data_dir):
            tree = ImageFolder(folder, _MAX_IMAGE_BYTES)
            if not tree.is_empty():
                return {_FLAT: tree}
    return found


def _zip(data_dir: Path, part: Part) -> ImageZip:
    return ImageZip(data_dir / f"{part.name}.zip", _MAX_IMAGE_BYTES, _MAX_ZIP_BYTES)


def _complete(found: Mapping, data_dir: Path, download: bool, base_url: str, edition: Edition) -> dict:
    """Returns all parts; downloads those that are missing."""
    missing = [part for part in edition.parts if part.name not in found]
    if missing and not download:
        raise UserError(f"{data_dir} lacks {_addresses(missing, base_url)}: put them there.")
    for i, part in enumerate(missing):
        try:
            fetch(f"{base_url}/{part.name}.zip", data_dir / f"{part.name}.zip", part.sha256, part.size)
        except UserError as error:
            if others := missing[i + 1 :]:
                raise UserError(f"{error} You will also need {_addresses(others, base_url)}.") from error
            raise
    return {part.name: found.get(part.name) or _zip(data_dir, part) for part in edition.parts}


def _addresses(parts, base_url):
    return " and ".join(f"{part.name}.zip from {base_url}/{part.name}.zip" for part in parts)


def _decode(sources: Mapping[str, ImageFolder | ImageZip], edition: Edition) -> tuple[np.ndarray, list[str]]:
    """Reads every image: uint8 [images, 28, 28, 1], grouped by character, and the sorted names alphabet/character."""
    expected = {part.name: part.characters for part in edition.parts} | {_FLAT: edition.characters}
    for name, source in sources.items():
        _check(source, expected[name], edition.images_per_character)
    characters: dict[str, list[np.ndarray]] = {}
    total = edition.characters * edition.images_per_character
    with progress(total, "Decoding Omniglot", "image") as shown:
        for source in sources.values():
            for name, contents in source.read():
                characters.setdefault(_character(name), []).append(_pixels(contents, source, name))
                shown.update()
    for name, images in characters.items():
        if len(images) != edition.images_per_character:
            paths = " and ".join(str(source.path) for source in sources.values())
            raise UserError(f"{name} is in more than one of {paths}.")
    names = sorted(characters)
    return np.stack([pixels for name in names for pixels in characters[name]])[..., None], names


def _check(source: ImageFolder | ImageZip, expected: int, images_per_character: int):
    """Counts characters and images before any time is spent on decoding them."""
    counts = Counter(_character(name) for name in source.names())
    for name, count in counts.items():
        if count != images_per_character:
            raise UserError(f"{source.path} holds {count} images of {name} where Omniglot has {images_per_character}.")
    if len(counts) != expected:
        gaps = _gaps(counts)
        hint = f"; {gaps[0]} is missing, for one" if gaps else ""
        raise UserError(f"{source.path} holds {len(counts)} characters where Omniglot has {expected}{hint}.")


def _gaps(names: Iterable[str]) -> list[str]:
    """The missing characters: those of an alphabet must be numbered character01, character02, ... without gaps."""
    names = set(names)
    highest: Counter[str] = Counter()
    for alphabet, _, number in (name.partition("/character") for name in names):
        highest[alphabet] = max(highest[alphabet], int(number) if number.isdecimal() else 0)
    every = (f"{alphabet}/character{i:02d}" for alphabet in sorted(highest) for i in range(1, highest[alphabet]))
    return [name for name in every if name not in names]


def _character(name: str) -> str:
    return name.rpartition("/")[0]


def _pixels(contents: bytes, source: ImageFolder | ImageZip, name: str) -> np.ndarray:
    try:
        image = checked(contents, formats=["PNG"])
        size = image.size  # from the header: the pixels are decoded only if their number is right
        if size in ((SIDE, SIDE), (ORIGINAL_SIDE, ORIGINAL_SIDE)):
            return to_pixels(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow documents no list of what a damaged PNG may raise
        raise UserError(f"{source.path}: {name} is not a whole PNG image ({error}).") from error
    raise UserError(f"{source.path}: {name} has {size[0]}x{size[1]} pixels, not {ORIGINAL_SIDE}x{ORIGINAL_SIDE}.")


def _split(images: np.ndarray, names: list[str], edition: Edition) -> dict[str, ClassImages]:
    order = list(range(len(names)))
    random.Random(1).shuffle(order)
    cuts = np.split(np.array(order), [edition.train, edition.train + edition.val])
    length = edition.images_per_character
    return {
        split: ClassImages(images, chosen * length, np.full(len(chosen), length), tuple(names[i] for i in chosen))
        for split, chosen in zip(("train", "val", "test"), cuts, strict=True)
    }
