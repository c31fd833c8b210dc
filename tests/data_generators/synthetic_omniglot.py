"""A small Omniglot: 3 alphabets, 10 characters, 3 images each. Any part of it can be damaged."""

import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from data_generators.omniglot import Edition, Part, load_omniglot

NUM_IMAGES = 3
CHARACTERS = {
    "images_background": [f"{alphabet}/character{i:02d}" for alphabet in ("Latin", "Greek") for i in (1, 2, 3)],
    "images_evaluation": [f"Runes/character{i:02d}" for i in (1, 2, 3, 4)],
}


def drawing(name: str, side: int = 105) -> Image.Image:
    """The 1-bit image of this name: random strokes, black on white, different for every name."""
    ink = np.random.default_rng(zlib.crc32(name.encode())).random((side, side)) < 0.2
    return Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).convert("1", dither=Image.Dither.NONE)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def files(part: str, side: int = 105) -> dict[str, bytes]:
    """{"<alphabet>/<character>/0001_01.png": contents} of all files of a part."""
    names = [f"{name}/0001_{i:02d}.png" for name in CHARACTERS[part] for i in range(1, NUM_IMAGES + 1)]
    return {name: png(drawing(name, side)) for name in names}


def write_zip(path: Path, contents: dict[str, bytes], folder: str | None = None) -> Path:
    """Writes a zip with everything in one folder, by default named as the zip; with "", there is no folder."""
    folder = path.stem if folder is None else folder
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{folder}/{name}" if folder else name, content)
    return path


def write_folder(path: Path, contents: dict[str, bytes]) -> Path:
    """Writes the files below a folder."""
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zips(path: Path) -> Path:
    """Writes both whole zips into a folder."""
    for part in CHARACTERS:
        write_zip(path / f"{part}.zip", files(part))
    return path


def edition(path: Path | None = None) -> Edition:
    """The Edition of the small Omniglot; its downloads must be the zips in the folder `path`."""
    zips = {part: (path / f"{part}.zip").read_bytes() if path else b"" for part in CHARACTERS}
    parts = [
        Part(part, len(CHARACTERS[part]), hashlib.sha256(zips[part]).hexdigest(), len(zips[part])) for part in zips
    ]
    return Edition(tuple(parts), NUM_IMAGES, train=5, val=2)


def load(folder, **arguments):
    """Loads the small Omniglot from a folder, without a download unless told otherwise."""
    return load_omniglot(folder, **{"download": False, "edition": edition(), **arguments})


def snapshot(folder):
    """{path: contents} of every file below a folder."""
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def by_name(splits):
    """{name: images} of every character."""
    return {
        name: data.images[offset : offset + length]
        for data in splits.values()
        for name, offset, length in zip(data.names, data.offsets, data.lengths, strict=True)
    }


def assert_whole(splits):
    """Asserts that all characters are there, each with its own images in order."""
    found = by_name(splits)
    assert sorted(found) == sorted(name for names in CHARACTERS.values() for name in names)
    for name, images in found.items():
        for i, image in enumerate(images, start=1):
            original = drawing(f"{name}/0001_{i:02d}.png").resize((28, 28))
            assert np.array_equal(image[..., 0] == 255, ~np.asarray(original))
        assert set(np.unique(images)) == {0, 255}
        assert images.shape == (3, 28, 28, 1)
        assert images.dtype == np.uint8


def spoil(folder, part, change, as_zip):
    """Writes both parts; change(files) changes the files of one of them first."""
    for name in CHARACTERS:
        contents = files(name)
        if name == part:
            contents = change(contents) or contents
        if as_zip:
            write_zip(folder / f"{name}.zip", contents)
        else:
            write_folder(folder / name, contents)
    return folder
