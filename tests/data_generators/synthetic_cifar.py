"""A small CIFAR-100 with five classes in two superclasses, in the published format."""

import hashlib
import pickle

import numpy as np

from data_generators.cifar import Edition
from tests.data_generators.synthetic_images import write_tar

SUPERCLASSES = {"fish": ("ray", "shark"), "flowers": ("orchid", "rose", "tulip")}
CLASSES = sorted(name for names in SUPERCLASSES.values() for name in names)
SPLITS = {"train": ("tulip", "ray"), "val": ("orchid",), "test": ("shark", "rose")}
TRAIN, TEST = 4, 2  # images of each class in the files train and test


def images():
    """{class: uint8 [TRAIN + TEST, 32, 32, 3]}: the images in the file train, then those in test."""
    random = np.random.default_rng(0)
    return {name: random.integers(0, 256, (TRAIN + TEST, 32, 32, 3), np.uint8) for name in CLASSES}


def files(protocol=2):
    """{name: contents} of the three pickles; the classes of a file are mixed."""
    of_class, found = images(), {}
    coarse = {name: place for place, names in enumerate(SUPERCLASSES.values()) for name in names}
    for file, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        chosen = [(label, i) for i in range(first, first + count) for label in range(len(CLASSES))]
        pixels = np.stack([of_class[CLASSES[label]][i] for label, i in chosen])
        found[file] = {
            "filenames": [f"{CLASSES[label]}_s_{i}.png" for label, i in chosen],
            "batch_label": f"{file}ing batch 1 of 1",
            "fine_labels": [label for label, _ in chosen],
            "coarse_labels": [coarse[CLASSES[label]] for label, _ in chosen],
            "data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1),
        }
    found["meta"] = {"fine_label_names": CLASSES, "coarse_label_names": [*SUPERCLASSES]}
    return {name: pickle.dumps(value, protocol) for name, value in found.items()}


def archive(path, contents=None):
    """Writes the archive; returns its Edition."""
    contents = files() if contents is None else contents
    write_tar(path, {f"cifar-100-python/{name}": value for name, value in contents.items()}, mode="w:gz")
    whole = path.read_bytes()
    return Edition(SUPERCLASSES, TRAIN + TEST, hashlib.sha256(whole).hexdigest(), len(whole))
