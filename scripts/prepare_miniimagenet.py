"""Puts the images of miniImagenet into data/miniImagenet/{train,val,test}/<class>/ and decodes them for training.

python -m scripts.prepare_miniimagenet --source=train.tar --source=val.tar --csv_dir=splits

The csv files are Ravi and Larochelle's (github.com/twitter-research/meta-learning-lstm). The images are ImageNet's,
whose licence forbids redistribution: give folders, tars or zips of 84x84 images or, with --resize, the originals.
Missing images are named and left out. After an interruption, run the same command again to resume.

A folder of mini-imagenet-cache-*.pkl, miniImageNet_category_split_*.pickle or .npz files needs no csv files, since they
hold the class of each image: python -m scripts.prepare_miniimagenet --source=FOLDER
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from data_generators.episodes import ClassImages
from data_generators.miniimagenet import holds_packed, load_miniimagenet, prepare_packed
from data_generators.miniimagenet_prepare import Prepared, prepare_miniimagenet
from maml_tf.runs.flags import Flags, command


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.several("source", Path, "folder, tar or zip of the images; default: <data_dir>/images")
    csv_dir = "folder of train.csv, val.csv and test.csv; default: the first source that holds them, else <data_dir>"
    flags.path("csv_dir", None, csv_dir)
    flags.path("data_dir", "data/miniImagenet", "the folder to make")
    flags.boolean("resize", False, "shrink larger images to 84x84 pixels")


def run(flags: Flags) -> None:
    """Prepares the data and prints what they hold."""
    sources = flags.source or [flags.data_dir / "images"]
    if any(holds_packed(source) for source in sources):
        _say(prepare_packed(flags.data_dir, sources, flags.csv_dir, flags.resize))
        return
    csv_dir = _csv_dir(flags.csv_dir, sources, flags.data_dir)
    prepared = prepare_miniimagenet(flags.data_dir, sources, csv_dir, flags.resize)
    _say(load_miniimagenet(flags.data_dir))
    print(*remarks(prepared), sep="\n", end="\n" if remarks(prepared) else "")


def _say(splits: Mapping[str, ClassImages]) -> None:
    for split, data in splits.items():
        print(f"{split}: {data.num_classes} classes, {data.lengths.sum()} images")


def remarks(prepared: Prepared) -> list[str]:
    """Returns lines that say which images are missing, and which are in no csv file."""
    lines = []
    for split, names in prepared.missing.items():
        if len(names) == prepared.wanted[split]:
            lines.append(f"{split}: none of its {len(names)} images was found, so there is no {split} split")
        elif names:
            total = prepared.wanted[split]
            lines.append(f"{split}: {len(names)} of its {total} images are missing: {_some(names)}")
    if prepared.unused:
        lines.append(f"{len(prepared.unused)} images are in no csv file and were left out: {_some(prepared.unused)}")
    if prepared.strangers:
        number = len(prepared.strangers)
        lines.append(
            f"{number} images are in no csv file but will be used, unless removed: {_some(prepared.strangers)}"
        )
    return lines


def _some(names) -> str:
    return ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "")


def _csv_dir(given: Path | None, sources: list[Path], data_dir: Path) -> Path:
    """Returns the folder of the csv files: the given one, or else a source that holds them, or else data_dir."""
    return given or next((source for source in sources if (source / "train.csv").is_file()), data_dir)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments, interrupted="interrupted; run the same command again to resume")


if __name__ == "__main__":
    sys.exit(main())
