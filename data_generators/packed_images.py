"""Images by class in the files that researchers distribute: pickles, .npz files and zips, one for each split.

The names of the files in a folder show their kind; <split> is train, val (or validation) or test:

- mini-imagenet-cache-<split>.pkl: a dict of image_data and class_dict (github.com/renmengye/few-shot-ssl-public),
- miniImageNet_category_split_{train_phase_train,val,test}.pickle and similar: a dict of data and labels
  (github.com/gidariss/FewShotWithoutForgetting),
- <split>_images_png.pkl, or <split>_images.npz, and <split>_labels.pkl: tieredImageNet
  (github.com/renmengye/few-shot-ssl-public, github.com/kjunelee/MetaOptNet),
- <split>.npz: arrays of images and labels; or few-shot-<split>.npz, with features and targets
  (github.com/ServiceNow/TADAM),
- <split>.zip with <class>/<image> in it, or one zip with <split>/<class>/<image>.

No pickle is executed (see `pickles`). The images are decoded once, like those in folders (see `image_folders`).
"""

import collections
import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from data_generators import pickles
from data_generators.class_folders import is_image
from data_generators.decoding import Decoder
from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.image_folders import load_splits
from data_generators.packed_contents import Contents, Zipped, of_cache, of_labels, of_npz, of_tiered
from data_generators.pickled_arrays import as_bytes
from data_generators.splits import SPLITS, only_numbered
from data_generators.zipped import SUFFIX, Zip

_RELEASE_EVERY = 1 << 12  # images, after which the memory of their file is given back to the system


@dataclasses.dataclass(frozen=True)
class PackedClasses:
    """Images in one file, or in a few; it implements `image_folders.Classes`.

    files: the file with the images first, then others, such as labels.
    read: function of the files that returns their Contents.
    part: name of the split in a zip, which may hold several; "" for other files.
    contents: the Contents, once it is open.
    """

    files: tuple[Path, ...]
    read: Callable[..., Contents]
    part: str = ""
    contents: Contents | None = None

    @property
    def path(self) -> Path:
        """The file with the images."""
        return self.files[0]

    @property
    def fingerprint(self) -> str:
        """Changes whenever one of the files is written or renamed."""
        marks = []
        for file in self.files:
            with reading(file):
                marks.append((file.name, file.stat().st_size, file.stat().st_mtime_ns))
        return hashlib.sha256(repr((self.part, marks)).encode()).hexdigest()

    @property
    def images(self) -> Mapping[str, np.ndarray]:
        """The indices of the images of each class, by its name."""
        return self._contents.rows

    @property
    def _contents(self) -> Contents:
        if self.contents is None:
            raise ValueError(f"{self.path} is not open")
        return self.contents

    def open(self) -> "PackedClasses":
        """Reads the files; UserError if they are damaged, or not of this kind."""
        with reading(self.path):
            return dataclasses.replace(self, contents=self.read(*self.files))

    def paths(self) -> list[int]:
        """The indices of all images, class after class."""
        return np.concatenate(list(self._contents.rows.values())).tolist()

    def decode(self, decoder: Decoder, image: int) -> np.ndarray:
        """See `image_folders.Classes`."""
        picture, name = self._contents.pictures[image], f"{self.path}: image {image}"
        if image % _RELEASE_EVERY == 0:
            pickles.release(picture)
        if isinstance(picture, np.ndarray) and picture.size != max(picture.shape, default=0):
            return decoder.pixels(picture, name)
        with reading(name):
            encoded = picture.tobytes() if isinstance(picture, np.ndarray) else bytes(as_bytes(picture))
        return np.asarray(decoder.image(encoded, name)).reshape(decoder.shape)


def load_packed(data_dir: Path, source: Path, suffixes: Collection[str], decoder: Decoder) -> dict[str, ClassImages]:
    """Opens the splits in files of a folder, with their caches in data_dir; see `image_folders.load_splits`.

    Args:
        data_dir: the folder of the caches, which can be used without the files.
        source: the folder of the files.
        suffixes: suffixes of the image files in a zip, in lower case.
        decoder: decodes the images, to the shape that the caches must have.

    Returns:
        The splits that exist; empty if there is neither a file nor a cache.

    Raises:
        UserError: a file is damaged or malformed, or a class is in two splits.
    """
    if source.is_file():
        raise UserError(f"{source} is a file: give the folder that it is in.")
    packed: Mapping[str, PackedClasses | None] = packed_splits(source, suffixes)
    return load_splits(data_dir, packed, decoder, _refuse if any(packed.values()) else None)


def packed_splits(folder: Path, suffixes: Collection[str]) -> dict[str, PackedClasses | None]:
    """Finds the files of each split in a folder; None for a split without files.

    Args:
        folder: the folder of the files.
        suffixes: suffixes of the image files in a zip, in lower case.

    Raises:
        UserError: the folder cannot be read, or has the images of a split without their labels, or more than once.
    """
    with reading(folder):
        there = {file.name.lower(): file for file in sorted(folder.iterdir())} if folder.is_dir() else {}
        there = {name: file for name, file in there.items() if file.is_file()}
    zips = _zipped(there, suffixes)
    splits: dict[str, PackedClasses | None] = {}
    for split in SPLITS:
        found = _of_split(split, there) + zips[split]
        if len(found) > 1:
            paths = " and ".join(str(classes.path) for classes in found)
            raise UserError(f"the {split} split is there more than once, in {paths}: keep one of them.")
        splits[split] = found[0] if found else None
    return splits


def _refuse(shared: str, splits: Mapping[str, ClassImages]) -> None:
    """Refuses a class in two splits, unless the classes of every split are just numbered from 0.

    If these are also equally many in every split, this warns: they may be the same classes in each.
    """
    if not all(only_numbered(data.names) for data in splits.values()):
        raise UserError(f"{shared}: take it out of one of them.")
    if len({data.num_classes for data in splits.values()}) == 1:
        logging.getLogger(__name__).warning(
            "each split has %d classes, numbered from 0, which are taken to be other classes in each: if they are the "
            "same, as in MNIST's own splits, join the splits and divide the classes by from_arrays",
            next(iter(splits.values())).num_classes,
        )


def _of_split(split: str, there: Mapping[str, Path]) -> list[PackedClasses]:
    found = []
    for name in (split, "validation") if split == "val" else (split,):
        phase = f"train_phase_{name}" if split == "train" else name
        labelled = [f"miniimagenet_category_split_{phase}.pickle"]
        labelled += [f"{of}_{name}.pickle" for of in ("mini_imagenet", "cifar_fs", "fc100")]
        single = {f"mini-imagenet-cache-{name}.pkl": of_cache} | dict.fromkeys(labelled, of_labels)
        single |= dict.fromkeys((f"{name}.npz", f"few-shot-{name}.npz"), of_npz)
        found += [PackedClasses((there[file],), read) for file, read in single.items() if file in there]
        found += _tiered(name, there)
    return found


def _tiered(split: str, there: Mapping[str, Path]) -> list[PackedClasses]:
    """Finds images and labels in two files; beside the PNGs, the .npz that few-shot-ssl unpacks them to is ignored."""
    images, labels = (f"{split}_images_png.pkl", f"{split}_images.npz"), f"{split}_labels.pkl"
    file = next((there[name] for name in images if name in there), None)
    if file and labels in there:
        return [PackedClasses((file, there[labels]), of_tiered)]
    if file:
        raise UserError(f"{file} holds images without labels: put {labels} beside it.")
    if labels in there:
        raise UserError(f"{there[labels]} holds labels without images: put {images[0]} beside it.")
    return []


def _zipped(there: Mapping[str, Path], suffixes: Collection[str]) -> dict[str, list[PackedClasses]]:
    """Finds zips that hold one split, .../<class>/<image>, or several, .../<split>/<class>/<image>."""
    found: dict[str, list[PackedClasses]] = {split: [] for split in SPLITS}
    for name, path in there.items():
        if not name.endswith(SUFFIX):
            continue
        stem = name.removesuffix(SUFFIX)
        images = [image.split("/") for image in Zip(path).names if is_image(image.rpartition("/")[2], suffixes)]
        for split in SPLITS:
            if (suffixes and split == stem) or any(split in parts[-3:-2] for parts in images):
                read = functools.partial(_of_zip, split=None if split == stem else split, suffixes=suffixes)
                found[split].append(PackedClasses((path,), read, split))
    return found


def _of_zip(path: Path, split: str | None, suffixes: Collection[str]) -> Contents:
    archive, rows, names = Zip(path), collections.defaultdict(list), []
    folders: dict[str, str] = {}
    archive.check()
    for name in archive.names:
        folder, _, image = name.rpartition("/")
        *_, before, label = ["", *folder.split("/")]
        if is_image(image, suffixes) and label and split in (None, before):
            if folders.setdefault(label, folder) != folder:
                raise UserError(
                    f"{path} has two folders of one class {label}, {folders[label]} and {folder}: give different "
                    "classes different names, or put the images of one class into one folder."
                )
            rows[label].append(len(names))
            names.append(name)
    if not names:
        raise UserError(f"{path} holds no image as <class>/<image>: pack folders of classes, or remove it.")
    return Contents(Zipped(archive, names), {label: np.array(rows[label]) for label in sorted(rows)})
