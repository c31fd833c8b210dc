"""Puts the images of miniImagenet into data/miniImagenet/{train,val,test}/<class>/ and decodes them for training.

python -m scripts.prepare_miniimagenet --source=train.tar --source=val.tar --csv_dir=splits

The csv files are Ravi and Larochelle's (github.com/twitter-research/meta-learning-lstm). The images are ImageNet's,
whose licence forbids redistribution: give folders or tars of 84x84 images or, with --resize, the originals. Missing
images are named and left out. After an interruption, run the same command again to resume.
"""

import argparse
import sys
from pathlib import Path

from data_generators.miniimagenet import load_miniimagenet
from data_generators.miniimagenet_prepare import Prepared, prepare_miniimagenet
from scripts import command


def main(arguments: list[str] | None = None) -> int:
    """Prepares the data and prints what they hold; returns the exit code, 2 for a user error."""
    return command.guarded(
        lambda: _run(_parser().parse_args(arguments)), interrupted="interrupted; run the same command again to resume"
    )


def _run(flags):
    data_dir = Path(flags.data_dir)
    sources = [Path(source) for source in flags.source or [data_dir / "images"]]
    prepared = prepare_miniimagenet(data_dir, sources, _csv_dir(flags.csv_dir, sources, data_dir), flags.resize)
    for split, data in load_miniimagenet(data_dir).items():
        print(f"{split}: {data.num_classes} classes, {data.lengths.sum()} images")
    print(*remarks(prepared), sep="\n", end="\n" if remarks(prepared) else "")


def remarks(prepared: Prepared) -> list[str]:
    """Lines on what is missing and what is too many."""
    lines = []
    for split, names in prepared.missing.items():
        if len(names) == prepared.wanted[split]:
            lines.append(f"{split}: none of its {len(names)} images was found, so that there is no {split} split")
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


def _csv_dir(given: str | None, sources: list[Path], data_dir: Path) -> Path:
    """The folder of the csv files: the given one, or else a source that holds them, or else data_dir."""
    places = [source for source in sources if (source / "train.csv").is_file()]
    return Path(given) if given else [*places, data_dir][0]


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("prepare_miniimagenet", __doc__)
    source = "folder or tar of the images, which may be given several times; default <data_dir>/images"
    csv_dir = "folder of train.csv, val.csv and test.csv; default the first source that holds them, or else <data_dir>"
    parser.add_argument("--source", action="append", help=source)
    parser.add_argument("--csv_dir", help=csv_dir)
    parser.add_argument("--data_dir", default="data/miniImagenet", help="the folder to make")
    parser.add_argument("--resize", action="store_true", help="shrink larger images to 84x84 pixels")
    return parser


if __name__ == "__main__":
    sys.exit(main())
