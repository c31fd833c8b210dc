"""What a run was trained on: `data.json` in its folder describes the training images, and lists their classes."""

import json
import logging
from pathlib import Path

from data_generators.errors import UserError, listed
from data_generators.files import reading, replacing
from data_generators.splits import only_numbered
from maml_tf.supervised.task_data import TaskData

DATA = "data.json"


def record(folder: Path, data: TaskData) -> None:
    """Writes `data.json`."""
    made = {"train": data.description(), "classes": _names(data, "train")}
    with replacing(folder / DATA) as part:
        part.write_text(json.dumps(made), encoding="utf-8")


def refuse_others(folder: Path, data: TaskData, anew: str) -> None:
    """Refuses to resume a run on other images than it was trained on.

    Runs of version 0.1.0 did not record their images, so they are not checked.

    Args:
        folder: the run's folder.
        data: the data to resume on.
        anew: advice for a new run.

    Raises:
        UserError: the classes, or their numbers of images, are others, or `data.json` is damaged.
    """
    path, now = folder / DATA, data.description()
    if now is None or not path.exists():
        return
    made = _read(path, "train", str)
    if made != now:
        raise UserError(
            f"the run in {folder} was trained on other images, {made}, than these, {now}: give the same --data_dir, "
            f"test it on these with --train=False, or delete {path} to resume on these; {anew}"
        )


def warn_of_trained_classes(folder: Path, data: TaskData) -> None:
    """Logs a warning if classes of an evaluation split are among those that the run was trained on.

    It is silent if the data themselves have such a class in "train", since loading them warns of that, and for classes
    that are only numbered from 0, since in each split these may be others; and if `data.json` is damaged, or of an
    earlier version.
    """
    try:
        trained = set(_read(folder / DATA, "classes", list))
    except UserError:
        return
    trained.difference_update(_names(data, "train"))
    for split in ("val", "test"):
        names = _names(data, split)
        seen = [name for name in names if name in trained]
        if seen and not only_numbered(names):
            logging.getLogger(__name__).warning(
                "the run in %s was trained on %d of the %d classes of the %s split (%s): a test on them is no test on "
                "new classes",
                folder, len(seen), len(names), split, listed(seen),
            )  # fmt: skip


def _names(data, split):
    return [str(name) for name in data.classes.get(split, ())]


def _read(path, key, kind):
    with reading(path, "delete it"):
        return kind(json.loads(path.read_text(encoding="utf-8"))[key])
