"""Small image files of every kind, and folders and tars of them."""

import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from data_generators.episodes import ClassImages


def picture(name: str, width: int = 84, height: int = 84, mode: str = "RGB") -> Image.Image:
    """The picture of this name: coarse random squares, different for every name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    squares = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
    return squares.resize((width, height), Image.Resampling.NEAREST).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    """The image as the contents of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(name: str, **options) -> bytes:
    """The picture of this name as a JPEG; the options are those of `picture`."""
    return encoded(picture(name, **options))


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    """Writes the files below a folder."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tree(classes: dict[str, int], suffix: str = ".jpg", **options) -> dict[str, bytes]:
    """{"<class>/<class><number>.jpg": contents}, so many of each class, which may be "<split>/<class>"."""
    names = [f"{name}/{Path(name).name}{i:08d}{suffix}" for name, count in classes.items() for i in range(1, count + 1)]
    return {name: jpeg(name, **options) for name in names}


def write_tar(path: Path, contents: dict[str, bytes], *entries: tarfile.TarInfo, mode: str = "w") -> Path:
    """Writes a tar of files and of further entries without contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in entries:
            archive.addfile(entry)
    return path


def of_class(data: ClassImages, name: str) -> np.ndarray:
    """The images of a class."""
    i = data.names.index(name)
    return data.images[data.offsets[i] : data.offsets[i] + data.lengths[i]]


def pixels(contents: bytes) -> np.ndarray:
    """The RGB pixels that must be read from an image file."""
    return np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"))
