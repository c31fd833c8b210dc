"""Writes small files in the layouts in which few-shot data sets are distributed, each as its original code does."""

import io
import pickle
import zipfile

import numpy as np

from tests.data_generators.synthetic_images import encoded, jpeg, picture, pixels

SPLITS = {"train": ["n01", "n02", "n03"], "val": ["n04"], "test": ["n05"]}
IMAGES = 4  # images of each class


def expected(name, side=84, count=IMAGES):
    """The pixels of a class."""
    return np.stack([np.asarray(picture(f"{name} {i}", side, side)) for i in range(count)])


def array(names, side=84):
    """The pixels of some classes, one class after the other."""
    return np.concatenate([expected(name, side) for name in names])


def cache(folder, protocol=2, splits=SPLITS, val="val"):
    """Writes mini-imagenet-cache-<split>.pkl; returns, like most functions here, {split: {class as read: name}}."""
    for split, names in splits.items():
        classes = {name: list(range(i * IMAGES, (i + 1) * IMAGES)) for i, name in enumerate(names)}
        content = {"image_data": array(names), "class_dict": classes}
        path = folder / f"mini-imagenet-cache-{val if split == 'val' else split}.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
    return {split: dict(zip(names, names, strict=True)) for split, names in splits.items()}


def category_split(folder, protocol=2, name="miniImageNet_category_split_{}.pickle", side=84):
    """Writes miniImageNet_category_split_<phase>.pickle: the labels continue from split to split; images are mixed."""
    found, first = {}, 0
    for split, names in SPLITS.items():
        labels = [first + i for i in range(len(names)) for _ in range(IMAGES)]
        order = np.random.default_rng(0).permutation(len(labels))
        content = {"data": array(names, side)[order], "labels": [labels[i] for i in order]}
        phase = "train_phase_train" if split == "train" and "category" in name else split
        (folder / name.format(phase)).write_bytes(pickle.dumps(content, protocol))
        found[split] = {str(first + i): name for i, name in enumerate(names)}, order
        first += len(names)
    return found


def tiered(folder, protocol=2, as_bytes=False):
    """Writes <split>_images_png.pkl, a list of arrays [bytes, 1] as OpenCV encodes them, and <split>_labels.pkl."""
    for split, names in SPLITS.items():
        files = [encoded(picture(f"{name} {i}"), "PNG") for name in names for i in range(IMAGES)]
        arrays = files if as_bytes else [np.frombuffer(file, np.uint8)[:, None] for file in files]
        (folder / f"{split}_images_png.pkl").write_bytes(pickle.dumps(arrays, protocol))
        tiered_labels(folder, split, names, protocol)
    return {split: {f"{i} {name}": name for i, name in enumerate(names)} for split, names in SPLITS.items()}


def tiered_labels(folder, split, names, protocol=2):
    """Writes <split>_labels.pkl."""
    specific = np.repeat(np.arange(len(names), dtype=np.int32), IMAGES)
    labels = {"label_specific": specific, "label_general": specific * 0, "label_specific_str": list(names)}
    (folder / f"{split}_labels.pkl").write_bytes(pickle.dumps(labels | {"label_general_str": ["all"]}, protocol))


def tiered_npz(folder):
    """Writes MetaOptNet's <split>_images.npz, and labels without texts, which continue from split to split."""
    found, first = {}, 0
    for split, names in SPLITS.items():
        np.savez(folder / f"{split}_images.npz", images=array(names))
        labels = {"labels": [first + i for i in range(len(names)) for _ in range(IMAGES)]}
        (folder / f"{split}_labels.pkl").write_bytes(pickle.dumps(labels, 2))
        found[split] = {str(first + i): name for i, name in enumerate(names)}
        first += len(names)
    return found


def npz(folder, save=np.savez, name="{}.npz", keys=("images", "labels"), labels=lambda split, i, name: i):
    """Writes <split>.npz; labels(split, index, name) gives the label of a class."""
    for split, names in SPLITS.items():
        each = [labels(split, i, name) for i, name in enumerate(names) for _ in range(IMAGES)]
        save(folder / name.format(split), **{keys[0]: array(names), keys[1]: np.array(each)})
    return {s: {str(labels(s, i, n)): n for i, n in enumerate(names)} for s, names in SPLITS.items()}


def zips(folder, prefix="", one=False):
    """Writes <split>.zip with <class>/<image>, or one zip with <split>/<class>/<image>."""
    contents = {
        f"{s}/{n}/{i}.jpg": jpeg(f"{n} {i}") for s, names in SPLITS.items() for n in names for i in range(IMAGES)
    }
    if one:
        write_zip(folder / "all.zip", {prefix + name: content for name, content in contents.items()})
        return
    for split in SPLITS:
        of_split = {n.partition("/")[2]: content for n, content in contents.items() if n.startswith(f"{split}/")}
        write_zip(folder / f"{split}.zip", {prefix + name: content for name, content in of_split.items()})


def write_zip(path, contents, compression=zipfile.ZIP_DEFLATED):
    """Writes a zip of these files, and of a shadow file as macOS adds; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("__MACOSX/._1.jpg", b"shadow")
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def of_jpegs(name):
    """The pixels of a class whose images were written as JPEGs."""
    return np.stack([pixels(jpeg(f"{name} {i}")) for i in range(IMAGES)])


def pickled(value, protocol=2) -> bytes:
    """A value as a pickle."""
    file = io.BytesIO()
    pickle.dump(value, file, protocol)
    return file.getvalue()
