"""Small data for the campaigns: an Omniglot, a miniImagenet and a folder of images."""

import functools
import json
import random
import shutil
from pathlib import Path

from tests.data_generators import synthetic_images, synthetic_omniglot

_EDITION = "edition.json"
MINIIMAGENET = {"train": 4, "val": 4, "test": 2}  # number of classes


def omniglot(folder, per_alphabet=4, images=4):
    """Writes both zips of an Omniglot with two alphabets in each, and a file that says what it must contain."""
    for part in ("images_background", "images_evaluation"):
        contents = {}
        for alphabet in ("Latin", "Greek"):
            for character in range(1, per_alphabet + 1):
                name = f"{alphabet}_{part[7:9]}/character{character:02d}"
                drawing = synthetic_omniglot.drawing(name)
                for number in range(1, images + 1):
                    moved = drawing.rotate(90 * (number % 4)) if number < 5 else drawing
                    contents[f"{name}/0001_{number:02d}.png"] = synthetic_omniglot.png(moved)
        synthetic_omniglot.write_zip(folder / "omniglot" / f"{part}.zip", contents)
    made = {"characters": 2 * per_alphabet, "images": images, "train": 2 * per_alphabet, "val": per_alphabet}
    (folder / _EDITION).write_text(json.dumps(made))


def extracted_omniglot(folder):
    """Writes the same Omniglot as folders of PNG files."""
    omniglot(folder)
    for file in (folder / "omniglot").glob("*.zip"):
        shutil.unpack_archive(file, folder / "omniglot")
        file.unlink()


def use_small():
    """Makes a command accept the Omniglot in the current folder as the whole one; called in the command's process."""
    try:
        made = json.loads(Path(_EDITION).read_text())
    except FileNotFoundError:
        return
    from data_generators import omniglot
    from data_generators.omniglot import Edition, Part, load_omniglot
    from maml_tf.baselines.training import ClassifierTraining
    from scripts import prepare_omniglot

    parts = tuple(Part(name, made["characters"], "", 0) for name in ("images_background", "images_evaluation"))
    edition = Edition(parts, made["images"], train=made["train"], val=made["val"])
    omniglot.load_omniglot = functools.partial(load_omniglot, edition=edition, download=False)
    prepare_omniglot.load_omniglot = functools.partial(load_omniglot, edition=edition)
    save_every, evaluate_every = 20, 40  # instead of 500 and 1000
    ClassifierTraining.__init__.__defaults__ = (save_every, evaluate_every, "auto", False)


def miniimagenet(folder, images=4, suffix=".tar"):
    """Writes a tar of images and the csv files that name them."""
    contents, rows = {}, {split: ["filename,label"] for split in MINIIMAGENET}
    for split, classes in MINIIMAGENET.items():
        for number in range(classes):
            label = f"n{len(split)}{ord(split[0])}{number:04d}"
            for image in range(1, images + 1):
                name = f"{label}{image:08d}.jpg"
                contents[name] = synthetic_images.jpeg(name)
                rows[split].append(f"{name},{label}")
    mode = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}[suffix]
    synthetic_images.write_tar(folder / f"images{suffix}", contents, mode=mode)
    for split, lines in rows.items():
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def image_folder(folder, kinds=("PNG",)):
    """Writes a folder of a user's images: 16x16 pixels, four of each class."""
    chance = random.Random(0)
    for split in ("train", "val", "test"):
        for label in ("a", "b", "c", "d"):
            for number in range(4):
                kind = chance.choice(kinds)
                picture = synthetic_images.picture(f"{split}{label}{number}", 16, 16)
                path = folder / "mine" / split / f"{split}_{label}" / f"{number}.{kind.lower()}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(synthetic_images.encoded(picture, kind))
