"""Makes classes of images from arrays in memory, or from a data set of TensorFlow Datasets, in one line.

splits = from_arrays(images, labels, {"train": range(60), "val": range(60, 80), "test": range(80, 100)})
splits = from_tf_dataset(tfds.load("cifar100", split="train+test"), (0.64, 0.16, 0.2))
episodes = Episodes(splits, ways=5, shots=1, queries=15)
"""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_generators.episodes import ClassImages
from data_generators.errors import UserError, listed
from data_generators.splits import SPLITS, by_shares

_CHUNK = 256  # images converted at a time

Splits = Mapping[str, Iterable] | Sequence[float]


def from_arrays(
    images: Any, labels: Any, splits: Splits, names: Sequence[str] | Mapping[Any, str] | None = None
) -> dict[str, ClassImages]:
    """Groups images by class, and classes by split.

    Args:
        images: [images, height, width, channels], or [images, height, width] of one channel. uint8 is used as it is,
            and not copied if the labels are in ascending order. Other whole numbers from 0 to 255, floats that are
            k / 255, and booleans are converted to the uint8 that they stand for.
        labels: [images] or [images, 1], the class of each image: numbers or text.
        splits: labels or names of the classes of each split, for any of "train", "val" and "test"; classes in no split
            are left out. Or the shares of training, validation and test, (0.64, 0.16, 0.2), by which
            `splits.by_shares` divides the sorted labels.
        names: names of the classes, by label; default: the labels as text.

    Returns:
        ClassImages by split, for `Episodes`. The classes of a split are in the order of its list.

    Raises:
        UserError: images do not have the form of images, or would change when converted to uint8; labels do not fit
            them; a class is listed twice, or has no image; or a split has no class.

    Example:
        >>> images, labels = np.zeros((60, 28, 28, 1), np.uint8), np.arange(60) % 6
        >>> splits = from_arrays(images, labels, {"train": [0, 1, 2], "val": [3], "test": [4, 5]})
        >>> splits["test"].names, splits["test"].lengths
        (('4', '5'), array([10, 10]))
        >>> {split: data.num_classes for split, data in from_arrays(images, labels, (0.5, 0.2, 0.3)).items()}
        {'train': 3, 'val': 1, 'test': 2}
    """
    labels, images = _labels(labels), _images(images)
    if len(labels) != len(images):
        raise UserError(f"there are {len(images):,} images, but {len(labels):,} labels: give each image one")
    images = _as_uint8(images)
    if np.any(labels[1:] < labels[:-1]):
        order = np.argsort(labels, kind="stable")
        images, labels = images[order], labels[order]
    values, offsets, lengths = np.unique(labels, return_index=True, return_counts=True)
    classes = [value.item() for value in values]
    texts = _names(classes, names)
    position = {value: i for found in (dict(enumerate(texts)), dict(enumerate(classes))) for i, value in found.items()}
    chosen = _as_lists(splits) if isinstance(splits, Mapping) else _of_shares(classes, splits)
    _check(chosen, position)
    return {
        split: ClassImages(images, offsets[where], lengths[where], tuple(texts[i] for i in where))
        for split, where in ((split, [position[label] for label in chosen[split]]) for split in chosen)
    }


def from_tf_dataset(
    dataset: Iterable, splits: Splits, names: Sequence[str] | Mapping[Any, str] | None = None
) -> dict[str, ClassImages]:
    """Applies `from_arrays` to a tf.data.Dataset of TensorFlow Datasets, which is read into memory as a whole.

    Args:
        dataset: iterable, such as a tf.data.Dataset, of dicts with `image` [height, width, channels] and `label`, or of
            pairs of these (`as_supervised`). All images must have one size: resize others by `.map`.
        splits: as for `from_arrays`.
        names: as for `from_arrays`; TensorFlow Datasets has them in `info.features["label"].names`.

    Raises:
        UserError: an element is not such a dict or pair, the images differ in size, the dataset never ends, or as for
            `from_arrays`.

    Example:
        >>> elements = [{"image": np.full((8, 8, 3), i, np.uint8), "label": i % 4} for i in range(40)]
        >>> splits = from_tf_dataset(elements, {"train": ["cat", "dog"], "val": ["emu"]}, ["cat", "dog", "emu", "fox"])
        >>> splits["train"].names, splits["train"].images.shape
        (('cat', 'dog'), (40, 8, 8, 3))
    """
    if isinstance(dataset, Mapping | tuple):  # from tfds.load without split=, or with batch_size=-1
        raise UserError(
            "dataset must be one data set: to join splits, give tfds.load split='train+test'; arrays go to from_arrays"
        )
    if hasattr(dataset, "cardinality") and int(dataset.cardinality()) == -1:
        raise UserError("the dataset never ends: leave out its .repeat(), or end it by .take(...)")
    elements = dataset.as_numpy_iterator() if hasattr(dataset, "as_numpy_iterator") else dataset
    images: list[np.ndarray] = []
    labels = []
    for element in elements:
        image, label = _pair(element)
        if images and image.shape != images[0].shape:
            sizes = f"{list(images[0].shape)} and {list(image.shape)}"
            raise UserError(f"the images of the dataset differ in size, {sizes}: resize them to one by .map(...)")
        images.append(image)
        labels.append(label)
    if not images:
        raise UserError("the dataset has no images")
    labels = _labels(labels)
    order = np.argsort(labels, kind="stable")  # so that `from_arrays` makes no third copy
    return from_arrays(np.stack([images[i] for i in order]), labels[order], splits, names)


def _pair(element):
    if isinstance(element, Mapping):
        missing = [key for key in ("image", "label") if key not in element]
        if missing:
            keys = ", ".join(map(str, element))
            raise UserError(f"elements of the dataset have no {missing[0]!r}, but {keys}: .map them to image and label")
        element = element["image"], element["label"]
    if not isinstance(element, tuple | list) or len(element) != 2:
        raise UserError("elements of the dataset must be dicts of image and label, or pairs of them")
    image, label = map(np.asarray, element)
    if label.ndim:
        raise UserError("elements of the dataset must be single images: .unbatch() it, and give classes, not one-hot")
    return image, label.item()


def _labels(given):
    labels = np.asarray(given)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iubUSO":
        raise UserError(
            f"labels must be one class for each image, whole numbers or text, not {labels.dtype} {list(labels.shape)}: "
            "instead of one-hot labels, give labels.argmax(axis=1)"
        )
    if np.ma.is_masked(given):
        raise UserError(f"the label of image {np.argmax(np.ma.getmaskarray(given))} is masked: leave out the image")
    return np.array(_plain(labels.tolist())) if labels.dtype.kind in "SO" else labels


def _plain(labels):
    """Returns labels that are objects as all text or all whole numbers; TensorFlow has text as bytes."""
    for i, label in enumerate(labels):
        if not isinstance(label, str | bytes | numbers.Integral):  # None and NaN stand for what is missing in a table
            raise UserError(
                f"the label of image {i} is {label!r}, neither text nor a whole number: give one, or leave it out"
            )
        if isinstance(label, numbers.Integral) != isinstance(labels[0], numbers.Integral):
            raise UserError(
                f"labels are both text and numbers, such as {labels[0]!r} and {label!r}: make all one of these"
            )
    try:
        return [label.decode() if isinstance(label, bytes) else label for label in labels]
    except UnicodeDecodeError as error:
        raise UserError(
            f"the label {error.object!r} is not UTF-8 ({error.reason}): decode the labels yourself"
        ) from error


def _images(images):
    try:
        images = np.asanyarray(images)
    except ValueError as error:  # raised by NumPy for sizes that differ
        raise UserError("images differ in size: resize them to one size, or load them by load_image_folder") from error
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(f"images must be [images, height, width, channels], but are {list(images.shape)}")
    _, height, width, channels = images.shape
    if height in (1, 3, 4) and width > 4 and channels > 4:
        signals = "; for signals of height 1, images.transpose(0, 2, 1, 3)" if height == 1 else ""
        raise UserError(
            f"images are {list(images.shape)}, channels before height and width: give images.transpose(0, 2, 3, 1)"
            f"{signals}"
        )
    return images


def _as_uint8(images):
    """Converts images to uint8, a few at a time; UserError if that would change them."""
    if images.dtype.kind == "b":
        return np.where(images, np.uint8(255), np.uint8(0))
    if images.dtype.kind in "iu" and np.max(images[:_CHUNK]) <= 1 and np.max(images) == 1:
        raise UserError("images are whole numbers from 0 to 1, where 255 is white: multiply them by 255")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "iuf":
        raise UserError(f"images must be numbers from 0 to 255, or from 0 to 1, not {images.dtype}")
    chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
    low, high = np.min([np.min(chunk) for chunk in chunks]), np.max([np.max(chunk) for chunk in chunks])
    if not (low >= 0 and high <= 255):  # also if they are NaN
        raise UserError(f"images must be numbers from 0 to 255, or from 0 to 1, but range from {low} to {high}")
    in_one = images.dtype.kind == "f" and high <= 1
    tolerance = 1e-3 + (255 * np.finfo(images.dtype).eps if in_one else 0)  # for k / 255, rounded to that type
    converted = np.empty(images.shape, np.uint8)
    for i, chunk in enumerate(chunks):
        values = chunk.astype(np.float64) * (255 if in_one else 1)
        whole = np.rint(values)
        if not np.all(np.abs(values - whole) <= tolerance):
            what = "floats from 0 to 1 that are no k / 255" if in_one else "not whole numbers from 0 to 255"
            raise UserError(f"images are {what}, and would change when they become uint8: round them yourself")
        converted[i * _CHUNK :][: len(whole)] = whole
    return converted


def _names(classes, names):
    if names is None:
        return [str(value) for value in classes]
    texts, names = [], names if isinstance(names, Mapping) else dict(enumerate(names))  # not names[-1] for -1
    for value in classes:
        try:
            texts.append(str(names[value]))
        except LookupError as error:
            raise UserError(f"names has no name for the label {value}: name all") from error
    if len(set(texts)) < len(texts):
        raise UserError("names has a name twice: each class needs its own")
    return texts


def _as_lists(splits):
    for split, labels in splits.items():
        if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
            raise UserError(f"splits must have a list of labels for {split}, not {labels!r}")
    return {split: list(labels) for split, labels in splits.items()}


def _of_shares(classes, shares):
    try:
        shares = tuple(map(float, shares))
    except (TypeError, ValueError) as error:
        raise UserError(f"splits must be lists of labels by split, or shares, not {shares!r}") from error
    if not 2 <= len(shares) <= 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"shares of train, val and test must be positive and sum to 1, not {shares}")
    return {split: [classes[i] for i in chosen] for split, chosen in by_shares(len(classes), shares).items()}


def _check(chosen, position):
    unknown = [split for split in chosen if split not in SPLITS]
    if unknown or not chosen:
        raise UserError(f"splits must be train, val and test, not {', '.join(map(repr, chosen)) or 'none'}")
    empty = [split for split, labels in chosen.items() if not labels]
    if empty:
        raise UserError(f"the split {empty[0]} has no class: list some, give another share, or leave it out")
    absent = [str(label) for labels in chosen.values() for label in labels if label not in position]
    if absent:
        raise UserError(f"no image has the label {listed(absent)}, which splits lists: leave it out")
    first: dict[int, str] = {}
    for split, labels in chosen.items():
        for label in labels:
            if position[label] in first:
                where = " and ".join(dict.fromkeys((first[position[label]], split)))
                raise UserError(f"class {label} is listed twice, in {where}: a class must be in one split only")
            first[position[label]] = split
