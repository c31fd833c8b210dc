"""The checkpoints with the best validations of a run, in best/ of its folder; and a run's checkpoints by name."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import BEST, Checkpoints, available, find
from maml_tf.runs.settings import Settings

KEPT = 5
_RANK = "rank/.ATTRIBUTES/VARIABLE_VALUE"

Rank = tuple[float, float]  # by which validations are compared; the smallest is the best


class BestCheckpoints:
    """Keeps the KEPT checkpoints with the best validations so far; of equally good ones, the earlier. Knows no learner.

    Each holds its rank beside what the run's own checkpoints hold. So what is kept depends on the validations alone,
    and not on when the process was killed, as long as a resumed run makes up for the validation that it has missed.

    Args:
        folder: of the run.
        settings, objects: as for `Checkpoints`.
    """

    def __init__(self, folder: str | Path, settings: Settings, objects: Mapping[str, Any]):
        self._folder = Path(folder)
        self._rank = tf.Variable([0.0, 0.0], dtype=tf.float64, trainable=False)
        self._store = Checkpoints(self._folder / BEST, settings, {**objects, "rank": self._rank}, keep=None)
        self._told = False

    def begin(self, iteration: int) -> None:
        """Drops checkpoints of later iterations, which a killed process has left and which come again."""
        self._store.delete_from(iteration + 1)
        for damaged in sorted(set(available(self._store.folder)) - ranks(self._folder).keys()):
            print(f"{self._store.folder / f'model{damaged}'} is damaged, and does not count among the best")

    def offer(self, iteration: int, rank: Rank) -> None:
        """Saves the run as it is now, if its validation is among the best so far, and deletes what no longer is."""
        found = ranks(self._folder) | {iteration: rank}
        kept = _in_order(found)[:KEPT]
        try:
            if iteration in kept:
                self._rank.assign(rank)
                self._store.save(iteration)
            self._store.delete(found.keys() - kept)
        except (UserError, OSError) as error:  # of a full disk, which would cost what was trained since the last save
            if not self._told:
                print(f"\nwarning: {error}: training continues, and best/ keeps what it has", file=sys.stderr)
            self._told = True


def ranks(folder: str | Path) -> dict[int, Rank]:
    """The rank of each checkpoint in best/ of a run, by iteration; without damaged ones."""
    found = {}
    for iteration in available(Path(folder) / BEST):
        try:
            first, second = tf.train.load_variable(str(Path(folder) / BEST / f"model{iteration}"), _RANK)
        except Exception:  # TensorFlow documents no list of what a damaged checkpoint may raise
            continue
        found[iteration] = float(first), float(second)
    return found


def best(folder: str | Path, count: int = 1) -> list[int]:
    """The iterations of the checkpoints with the best validations of a run, the best first.

    Args:
        folder: of the run.
        count: how many.

    Raises:
        UserError: there are fewer, or one is damaged.
    """
    there, found = available(Path(folder) / BEST), ranks(folder)
    if not there:
        find(folder)
        raise UserError(
            f"there is no {Path(folder) / BEST}, since the run was not validated, or only by an earlier version: "
            "resume it for more iterations, or name another checkpoint by --test_iter"
        )
    for iteration in there:
        if iteration not in found:
            files = Path(folder) / BEST / f"model{iteration}.*"
            raise UserError(f"the checkpoint {files} is damaged: remove it to use the others of {files.parent}")
    if count > len(there):
        raise UserError(
            f"{Path(folder) / BEST} holds {len(there)} of the {count} checkpoints asked for: give --ensemble="
            f"{len(there)}, or resume the run for more iterations"
        )
    return _in_order(found)[:count]


def locate(folder: str | Path, iteration: int | str | None = None) -> tuple[Path, int]:
    """Finds a checkpoint of a run.

    Args:
        folder: of the run.
        iteration: of the checkpoint, which may also be in best/; "best", the best on validation; None, the latest.

    Returns:
        (the folder that holds it, its iteration).

    Raises:
        UserError: it is not there.
    """
    inside = Path(folder) / BEST
    if isinstance(iteration, str):
        if iteration != BEST:
            raise UserError(f"there is no checkpoint {iteration!r}: give an iteration, or {BEST!r}")
        return inside, best(folder)[0]
    if iteration not in available(folder) and iteration in available(inside):
        return inside, iteration
    return Path(folder), find(folder, iteration)


def _in_order(found):
    return sorted(found, key=lambda iteration: (found[iteration], iteration))
