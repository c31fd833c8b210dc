"""Saves and restores everything that a run needs to resume exactly where it was."""

import dataclasses
import json
import re
import shutil
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from data_generators.errors import UserError, first_line
from data_generators.files import check_name, flush, free_name
from maml_tf.runs.lock import RunLock, make_writable, remove_leftovers
from maml_tf.runs.settings import Settings

_EXPERIMENT = "experiment/.ATTRIBUTES/VARIABLE_VALUE"
_SAVING = "saving"
BEST = "best"  # the folder of a run's best checkpoints; also given instead of an iteration for the best one
_DATA = re.compile(r"model\d+\.data-\d{5}-of-\d{5}")


class Checkpoints:
    """The checkpoints `model<iteration>` of one run, in its folder; works for every learner.

    A checkpoint holds the given objects, the number of iterations done and the settings. It is written in a temporary
    folder, flushed to the disk and moved into place, its index last. So a checkpoint that has an index is complete,
    even if the process is killed or the power is lost meanwhile.

    Args:
        folder: the run's folder; it need not exist before `start` or the first `save`.
        settings: the run's Settings; a checkpoint with other settings is refused.
        objects: the objects to save, by their keys in the checkpoint: models, optimisers, variables, lists of them.
        keep: number of checkpoints kept; older ones are deleted. None keeps all.
        keep_every: interval in iterations; checkpoints at its multiples are never deleted as old. None: no interval.
    """

    _lock: RunLock | None = None

    def __init__(
        self,
        folder: str | Path,
        settings: Settings,
        objects: Mapping[str, Any],
        *,
        keep: int | None = 10,
        keep_every: int | None = None,
    ):
        self.folder = Path(folder)
        self.settings = settings
        self.keep, self.keep_every = keep, keep_every
        self._iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._settings = tf.Variable(as_text(settings), trainable=False)
        self._checkpoint = tf.train.Checkpoint(**objects, iteration=self._iteration, experiment=self._settings)

    def start(self, resume: bool) -> int:
        """Makes the folder, and restores the latest checkpoint or, without `resume`, renames an earlier run's folder.

        No other process can start in this folder until `end` is called or this process ends. Files that killed
        processes have left are removed.

        Returns:
            The number of iterations done.

        Raises:
            UserError: the folder cannot be written, another process trains in it, or as for `restore`.
        """
        make_writable(self.folder)
        self._hold(RunLock(self.folder))
        try:
            iteration = self._resume() if resume else self._start_anew()
            self._remove_leftovers()
        except BaseException:
            self.end()
            raise
        return iteration

    def end(self) -> None:
        """Lets other processes start in this folder; further calls have no effect."""
        if self._lock is not None:
            self._lock.release()

    def _hold(self, lock):
        self._lock = lock
        weakref.finalize(self, lock.release)  # in case `end` is never called

    def _resume(self):
        if not available(self.folder):
            return 0
        iteration = self.restore(resuming=True)
        print(f"Resuming from the checkpoint of iteration {iteration}")
        return iteration

    def _start_anew(self):
        lock, aside = self._lock, put_aside(self.folder)
        if aside:
            lock.moved(aside)
            make_writable(self.folder)
            try:
                self._hold(RunLock(self.folder))
            finally:
                lock.release()
            print(f"The earlier run is now in {aside}")
        return 0

    def save(self, iteration: int) -> Path:
        """Writes `model<iteration>`, then deletes the oldest checkpoints beyond the number to keep.

        Returns:
            The checkpoint's path, without the endings of its files.

        Raises:
            UserError: the checkpoint cannot be written; the other checkpoints stay as they were.
        """
        self._iteration.assign(iteration)
        path = self.folder / f"model{iteration}"
        part = self.folder / _SAVING
        try:
            shutil.rmtree(part, ignore_errors=True)  # what a killed process may have left
            part.mkdir(parents=True)
            self._checkpoint.write(str(part / path.name))
            flush(part)
            _delete(path)
            for file in sorted(part.iterdir(), key=lambda file: file.suffix == ".index"):
                file.replace(self.folder / file.name)
            part.rmdir()
            self._delete_surplus()
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(part, ignore_errors=True)  # makes room on a full disk
            raise UserError(f"checkpoint {path} cannot be written ({first_line(error)})") from error
        return path

    def _delete_surplus(self):
        """Deletes the oldest surplus checkpoints, and data files that a killed process left without an index."""
        for old in available(self.folder)[: -self.keep] if self.keep else ():
            if not self.keep_every or old % self.keep_every:
                _delete(self.folder / f"model{old}")
        for file in self.folder.glob("model*.data-*"):
            if _DATA.fullmatch(file.name) and not file.with_suffix(".index").exists():
                file.unlink()

    def _remove_leftovers(self):
        """Removes what killed processes may have left."""
        shutil.rmtree(self.folder / _SAVING, ignore_errors=True)
        self._delete_surplus()
        remove_leftovers(self.folder)

    def delete_from(self, iteration: int) -> None:
        """Deletes the checkpoints of this iteration and of later ones."""
        self.delete(later for later in available(self.folder) if later >= iteration)

    def delete(self, iterations: Iterable[int]) -> None:
        """Deletes the checkpoints of these iterations."""
        for iteration in iterations:
            _delete(self.folder / f"model{iteration}")

    def restore(self, iteration: int | None = None, resuming: bool = False) -> int:
        """Restores the latest checkpoint, or that of a given iteration.

        Args:
            iteration: the checkpoint's iteration; default, the latest.
            resuming: whether a training is to resume from the checkpoint.

        Returns:
            The number of iterations done.

        Raises:
            UserError: there is no checkpoint, it is damaged, it was made with other settings, or it is one of the
                original code, which has no optimiser state to resume with.
        """
        path = self.folder / f"model{find(self.folder, iteration)}"
        if is_tf1(path):
            raise UserError(
                f"checkpoint {path} is of the original code, without the optimiser's state, so its training "
                "cannot be resumed: test it with main.py --train=False, or train anew with another --logdir"
            )
        self._refuse_other_settings(path, resuming)
        try:
            self._checkpoint.read(str(path)).assert_existing_objects_matched().expect_partial()  # best/ has a rank, too
        except Exception as error:  # TensorFlow does not document which errors a damaged checkpoint raises
            why = f"damaged or of another model ({first_line(error)})"
            raise UserError(f"checkpoint {path} is {why}{_remedy(path)}") from error
        self._settings.assign(as_text(self.settings))  # reading has overwritten it with the checkpoint's
        return int(self._iteration.numpy())

    def _refuse_other_settings(self, path, resuming):
        if differences := self.settings.differences(read_settings(path), resuming):
            others = f"checkpoint {path} was made with {', '.join(differences)}"
            raise UserError(f"{others}: give the same flags or, {self.settings.anew}")

    def is_whole(self) -> bool:
        """Whether there is a checkpoint, and the latest one can be read completely."""
        if not available(self.folder):
            return False
        try:
            reader = tf.train.load_checkpoint(str(self.folder / f"model{find(self.folder)}"))
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
        except Exception:  # TensorFlow does not document which errors a damaged checkpoint raises
            return False
        return True


def as_text(settings: Settings) -> str:
    """Returns settings as the text that a checkpoint holds; `read_settings` reads it."""
    return json.dumps(dataclasses.asdict(settings))


def available(folder: str | Path) -> list[int]:
    """The iterations of the complete checkpoints in a folder, ascending."""
    names = (re.fullmatch(r"model(\d+)\.index", file.name) for file in Path(folder).glob("model*.index"))
    return sorted(int(name[1]) for name in names if name)


def any_available(folder: str | Path) -> bool:
    """Whether a run has complete checkpoints, even only in best/: a validation may come before the first save."""
    return bool(available(folder) or available(Path(folder) / BEST))


def find(folder: str | Path, iteration: int | None = None) -> int:
    """The iteration of the latest checkpoint in a folder, or the given one if it is there.

    Raises:
        UserError: there is no such checkpoint.
    """
    iterations = available(folder)
    if not iterations:
        raise UserError(f"no checkpoint in {folder}: train first, with the same settings")
    if iteration is not None and iteration not in iterations:
        raise UserError(f"no checkpoint of iteration {iteration} in {folder}; there are: {str(iterations)[1:-1]}")
    return iterations[-1] if iteration is None else iteration


def put_aside(folder: str | Path) -> Path | None:
    """Renames the folder of an earlier run, if it holds checkpoints, to `<folder>.old1` or the next free name.

    Returns:
        The new name, or None if there is nothing to rename.

    Raises:
        UserError: the folder cannot be renamed.
    """
    if not any_available(folder):
        return None
    real = Path(folder).resolve() if Path(folder).is_symlink() else Path(folder)
    aside = free_name(real, "old")
    try:
        real.rename(aside)
        if Path(folder).is_symlink():  # the new run goes there too
            real.mkdir()
        return aside
    except OSError as error:
        message = f"cannot rename {folder} to {aside} ({error.strerror}): move it yourself, or choose another --logdir"
        raise UserError(message) from error


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that a checkpoint was made with, as a dict.

    Raises:
        UserError: the checkpoint is damaged, or not one of this project.
    """
    check_name(path, "rename the folder to read it")
    try:
        return json.loads(tf.train.load_variable(str(path), _EXPERIMENT))
    except Exception as error:  # TensorFlow does not document which errors a damaged checkpoint raises
        raise UserError(f"checkpoint {path} is damaged, or not a checkpoint of this project{_remedy(path)}") from error


def is_tf1(path: str | Path) -> bool:
    """Whether a checkpoint was written by TensorFlow 1; `path` is without the endings of its files."""
    try:
        return "_CHECKPOINTABLE_OBJECT_GRAPH" not in tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    except Exception:  # TensorFlow does not document which errors a damaged checkpoint raises
        return False


def _files(path):
    """The files of a checkpoint, its index first."""
    files = [file for file in path.parent.glob(f"{path.name}.*") if re.match(r"\.(index$|data-)", file.suffix)]
    return sorted(files, key=lambda file: file.suffix != ".index")


def _delete(path):
    """Deletes a checkpoint, its index first, so that a killed process leaves no index without its data."""
    for file in _files(path):
        file.unlink()


def _remedy(path):
    """Advice for a damaged checkpoint: remove it, if others can replace it; a single one may be of another program."""
    files = " and ".join(str(file) for file in _files(path))
    if path.parent.name == BEST:
        return f": if it is damaged, remove {files} to use the others of {path.parent}"
    *earlier, latest = available(path.parent) or [None]
    if not (earlier and path.name == f"model{latest}"):
        return ""
    return f": if it is damaged, remove {files} to resume from model{earlier[-1]}"
