"""Keeps the checkpoints with the best validations of a run in best/ of its folder, and locates a run's checkpoints."""

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
_TASKS = "tasks/.ATTRIBUTES/VARIABLE_VALUE"

Rank = tuple[float, float]  # validations are compared by it; the smallest is the best


class BestCheckpoints:
    """Keeps the KEPT checkpoints with the best validations so far; among equally good ones, the earlier.

    Works for every learner. Each checkpoint also holds its rank. So the choice depends only on the validations, not on
    when the process was killed, as long as a resumed run repeats a validation that it has missed.

    Args:
        folder: the run's folder.
        settings, objects: as for `Checkpoints`.
        tasks: number of tasks of a validation, which each checkpoint holds too.
    """

    def __init__(self, folder: str | Path, settings: Settings, objects: Mapping[str, Any], tasks: int):
        self._folder = Path(folder)
        self._rank = tf.Variable([0.0, 0.0], dtype=tf.float64, trainable=False)
        self._tasks = tf.Variable(tasks, dtype=tf.int64, trainable=False)
        held = {**objects, "rank": self._rank, "tasks": self._tasks}
        self._store = Checkpoints(self._folder / BEST, settings, held, keep=None)
        self._told = False

    def begin(self, iteration: int) -> None:
        """Deletes checkpoints of later iterations, which a killed process left and which the run will make again."""
        self._store.delete_from(iteration + 1)
        for damaged in sorted(set(available(self._store.folder)) - ranks(self._folder).keys()):
            print(f"{self._store.folder / f'model{damaged}'} is damaged, and does not count among the best")

    def refuse_other_validations(self) -> None:
        """Raises UserError if there are checkpoints that were validated on another number of tasks."""
        tasks, folder = int(self._tasks), self._store.folder
        for other in {_tasks_of(folder / f"model{iteration}", tasks) for iteration in ranks(self._folder)} - {tasks}:
            raise UserError(
                f"{folder} was chosen by validations on {other} tasks, which do not compare with those on "
                f"{tasks}: give --validation_tasks={other}, or remove that folder to choose anew"
            )

    def offer(self, iteration: int, rank: Rank) -> None:
        """Saves the run's state if its validation is among the best so far; deletes checkpoints that no longer are."""
        found = ranks(self._folder) | {iteration: rank}
        kept = _in_order(found)[:KEPT]
        try:
            if iteration in kept:
                self._rank.assign(rank)
                self._store.save(iteration)
            self._store.delete(found.keys() - kept)
        except (UserError, OSError) as error:  # on a full disk; raising would lose what was trained since the last save
            if not self._told:
                print(f"\nwarning: {error}: training continues, and best/ keeps what it has", file=sys.stderr)
            self._told = True


def ranks(folder: str | Path) -> dict[int, Rank]:
    """The ranks of the checkpoints in best/ of a run, by iteration; damaged checkpoints are left out."""
    found = {}
    for iteration in available(Path(folder) / BEST):
        try:
            first, second = tf.train.load_variable(str(Path(folder) / BEST / f"model{iteration}"), _RANK)
        except Exception:  # TensorFlow does not document which errors a damaged checkpoint raises
            continue
        found[iteration] = float(first), float(second)
    return found


def _tasks_of(path, unknown):
    """The number of tasks that a checkpoint was validated on; those of earlier versions do not tell."""
    told = _TASKS in dict(tf.train.list_variables(str(path)))
    return int(tf.train.load_variable(str(path), _TASKS)) if told else unknown


def best(folder: str | Path, count: int = 1) -> list[int]:
    """The iterations of the checkpoints with the best validations of a run, the best first.

    Args:
        folder: the run's folder.
        count: number of checkpoints.

    Raises:
        UserError: there are fewer checkpoints, or one is damaged.
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
        folder: the run's folder.
        iteration: the checkpoint's iteration (the checkpoint may also be in best/); "best" for the best on validation;
            None for the latest.

    Returns:
        (the folder that holds the checkpoint, its iteration).

    Raises:
        UserError: there is no such checkpoint.
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
