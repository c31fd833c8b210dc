"""Reads the contents of the files of `packed_images`: images, and which of them belong to each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_generators import npz, pickles
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.pickled_arrays import as_text
from data_generators.zipped import Zip


class Contents(NamedTuple):
    """The contents of a file.

    pictures: for each image, an array of pixels, or the bytes of an image file (or an array of these).
    rows: indices of the images of each class, by its name; the classes are sorted.
    """

    pictures: Any
    rows: dict[str, np.ndarray]


def of_cache(path: Path) -> Contents:
    """Reads mini-imagenet-cache-<split>.pkl: image_data, uint8 [n, 84, 84, 3]; class_dict, indices of each class."""
    pictures, classes = _entries(path, "image_data", "class_dict")
    if not isinstance(classes, dict):
        raise _not_as_it_must(path, "its class_dict is no dict")
    return Contents(_pictures(path, pictures), _of_indices(path, classes, len(pictures)))


def of_labels(path: Path) -> Contents:
    """Reads a dict of data, uint8 [n, height, width, 3], and labels, the class of each image."""
    pictures, labels = _entries(path, "data", "labels")
    return Contents(_pictures(path, pictures), _of_each(path, labels, len(pictures)))


def of_tiered(path: Path, labels_path: Path) -> Contents:
    """Reads tieredImageNet: a list of n PNG files, or an .npz of pixels; and label_specific with texts of the classes.

    MetaOptNet has labels without texts. Two classes may have the same text ("crane"), so names begin with the numbers.
    """
    is_npz = path.suffix.lower() == ".npz"
    pictures = npz.mapped(path, npz.one_of(path, ("images",))) if is_npz else pickles.load(path)
    labels = pickles.load(labels_path)
    entries = _text_keys(labels_path, labels)
    if "label_specific" not in entries:
        return Contents(
            _pictures(path, pictures), _of_each(labels_path, _entry(labels_path, entries, "labels"), len(pictures))
        )
    rows = _of_each(labels_path, entries["label_specific"], len(pictures))
    if "label_specific_str" in entries:
        with reading(labels_path):
            texts = {str(label): as_text(text) for label, text in enumerate(entries["label_specific_str"])}
            if unnamed := rows.keys() - texts.keys():
                raise ValueError(f"its label_specific_str has no text for the label {min(unnamed)}")
            rows = {f"{label} {texts[label]}": of_class for label, of_class in rows.items()}
    return Contents(_pictures(path, pictures), rows)


def of_npz(path: Path) -> Contents:
    """Reads images (or features), uint8 [n, height, width, 1 or 3], and labels (or targets), the class of each."""
    pictures = npz.mapped(path, npz.one_of(path, ("images", "features")))
    labels = npz.array(path, npz.one_of(path, ("labels", "targets")))
    return Contents(_pictures(path, pictures), _of_each(path, labels, len(pictures)))


class Zipped(Sequence):
    """The images in a zip that have these names, as a sequence."""

    def __init__(self, archive: Zip, names: Sequence[str]):
        self._archive = archive
        self._names = names

    def __len__(self):
        return len(self._names)

    def __getitem__(self, row):
        return self._archive.read(self._names[row])


def _entries(path: Path, *names: str) -> list[Any]:
    entries = _text_keys(path, pickles.load(path))
    return [_entry(path, entries, name) for name in names]


def _entry(path: Path, entries: Mapping[str, Any], name: str) -> Any:
    if name not in entries:
        there = ", ".join(map(str, [*entries][:5])) or "nothing"
        raise _not_as_it_must(path, f"it holds {there[:100]}, and not {name}")
    return entries[name]


def _text_keys(path: Path, value: Any) -> dict[str, Any]:
    """Converts the keys of a dict, which may be bytes, to text."""
    if not isinstance(value, dict):
        raise _not_as_it_must(path, "it is no dict")
    return {_name(key): entry for key, entry in value.items()}


def _pictures(path: Path, pictures: Any) -> Any:
    """Checks an array as a whole; each image in a list is checked when it is decoded."""
    if not isinstance(pictures, list | np.ndarray):
        raise _not_as_it_must(path, "its images are neither an array nor a list")
    if isinstance(pictures, np.ndarray) and not pictures.dtype.hasobject:
        shape = pictures.shape
        if pictures.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
            kind = f"{pictures.dtype} of shape {shape}"
            what = f"its images are {kind}, and not uint8 of n x height x width x 1 or 3"
            raise _not_as_it_must(path, what, "save them so, or get it again")
    return pictures


def _of_each(path: Path, labels: Any, count: int) -> dict[str, np.ndarray]:
    """Finds the rows of each class from the labels of the images, which are numbers or texts."""
    if not isinstance(labels, list | np.ndarray):
        raise _not_as_it_must(path, "its labels are neither an array nor a list")
    with reading(path, "save a whole number or a name for each image, or get the file again"):
        texts = [isinstance(label, str | bytes) for label in labels]
        if isinstance(labels, list) and any(texts):
            if not all(texts):
                raise ValueError("some of its labels are names, and others are not")
            labels = [as_text(label) for label in labels]
        array = np.asarray(labels)
        array = array[:, 0] if array.shape[1:] == (1,) else array
        if array.ndim != 1 or array.dtype.kind not in "iuUSO" or (array.dtype.kind == "O" and len(array)):
            raise ValueError(
                f"its labels are {array.dtype} of shape {array.shape}, not one number or name for each image"
            )
        if len(array) != count:
            raise ValueError(f"it holds {count:,} images and {len(array):,} labels")
        if not count:
            raise ValueError("it holds no image")
        values, classes = np.unique(array, return_inverse=True)
        order = np.argsort(classes, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(classes))[:-1])
        return {
            as_text(value) if isinstance(value, str | bytes) else str(value): of_class
            for value, of_class in zip(values.tolist(), rows, strict=True)
        }


def _of_indices(path: Path, classes: Mapping[Any, Any], count: int) -> dict[str, np.ndarray]:
    """Checks the rows of each class that a file gives: every image must be in exactly one class."""
    with reading(path):
        rows = {_name(name): np.asarray(of_class) for name, of_class in classes.items()}
        for name, of_class in rows.items():
            if of_class.ndim != 1 or of_class.dtype.kind not in "iu" or not len(of_class):
                raise ValueError(f"class {name} is no list of images")
        every = np.concatenate(list(rows.values())) if rows else np.empty(0, np.int64)
        if len(every) and not 0 <= every.min() <= every.max() < count:
            raise ValueError(f"it holds {count:,} images, but a class lists others")
        times = np.bincount(every, minlength=count)
        if (times != 1).any():
            row = int(np.argmax(times != 1))
            raise ValueError(f"image {row} is in {'no class' if times[row] == 0 else 'two classes, or in one twice'}")
        if not count:
            raise ValueError("it holds no image")
    return dict(sorted(rows.items()))


def _name(value: Any) -> str:
    """Converts a key or a class, which may be text, bytes or a number, to text."""
    return as_text(value) if isinstance(value, str | bytes) else str(value)


def _not_as_it_must(path: Path, what: str, remedy: str = "get it again, or remove it") -> UserError:
    return UserError(f"{path} is not what its name says: {what}; {remedy}.")
