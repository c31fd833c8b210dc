"""Saves and restores everything that a run needs to go on exactly where it was."""

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import tf1_checkpoints
from maml_tf.stopping import make_writable

_EXPERIMENT = "experiment/.ATTRIBUTES/VARIABLE_VALUE"


class Checkpoints:
    """The checkpoints `model<iteration>` of one run, in its folder.

    Each holds the weights, the optimisers' state, the number of iterations done and the Experiment. It is written in a
    folder of its own and moved into place, its index last; so a checkpoint that has an index is whole, even if the
    process is killed meanwhile.

    Args:
        folder: the run's folder; need not exist before the first `save`.
        maml: MAML.
        experiment: Experiment, its settings.
        keep: number of checkpoints kept; older ones are deleted.
    """

    keep_every = None  # multiples of this iteration are never deleted

    def __init__(self, folder, maml, experiment, keep=10):
        self.folder = Path(folder)
        self.experiment = experiment
        self.keep = keep
        self._iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._settings = tf.Variable(as_text(experiment), trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            model=maml.model,
            step_sizes=[s.value for s in maml.step_sizes],
            optimizer=maml.optimizer,
            pretrain_optimizer=maml.pretrain_optimizer,
            iteration=self._iteration,
            experiment=self._settings,
        )

    def begin(self, resume):
        """Makes the folder, and restores the latest checkpoint or, without `resume`, puts an earlier run aside.

        Returns:
            The number of iterations done.

        Raises:
            UserError: the folder cannot be written, or as `restore`.
        """
        make_writable(self.folder)
        if not resume:
            aside = put_aside(self.folder)
            make_writable(self.folder)
            if aside:
                print(f"The earlier run is now in {aside}")
        elif available(self.folder):
            iteration = self.restore()
            print(f"Going on from the checkpoint of iteration {iteration}")
            return iteration
        return 0

    def save(self, iteration):
        """Writes `model<iteration>`, then deletes the oldest beyond those to keep.

        Returns:
            Its path, without the endings of its files.

        Raises:
            UserError: it cannot be written; the others are left as they were.
        """
        self._iteration.assign(iteration)
        path = self.folder / f"model{iteration}"
        part = self.folder / "saving"
        try:
            shutil.rmtree(part, ignore_errors=True)  # what a killed process may have left
            part.mkdir(parents=True)
            self._checkpoint.write(str(part / path.name))
            _delete(path)
            for file in sorted(part.iterdir(), key=lambda file: file.suffix == ".index"):
                file.replace(self.folder / file.name)
            part.rmdir()
            for old in available(self.folder)[: -self.keep]:
                if not self.keep_every or old % self.keep_every:
                    _delete(self.folder / f"model{old}")
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"checkpoint {path} cannot be written ({_first_line(error)})") from error
        return path

    def delete_from(self, iteration):
        """Deletes the checkpoints of this iteration and of later ones."""
        for later in available(self.folder):
            if later >= iteration:
                _delete(self.folder / f"model{later}")

    def restore(self, iteration=None):
        """Restores the latest checkpoint, or that of a given iteration.

        Returns:
            The number of iterations done.

        Raises:
            UserError: there is none, it is damaged, it was made with other settings, or it is one of the original code,
                which has no optimiser state to go on with.
        """
        path = self.folder / f"model{find(self.folder, iteration)}"
        if tf1_checkpoints.is_tf1(path):
            raise UserError(
                f"checkpoint {path} is of the original code and without the optimiser's state, so that its training "
                "cannot go on: test it by --train=False, or train anew with another --logdir or --resume=False"
            )
        self._refuse_other_settings(path)
        try:
            self._checkpoint.read(str(path)).assert_existing_objects_matched()
        except Exception as error:  # TensorFlow documents no list of what a damaged checkpoint may raise
            raise UserError(f"checkpoint {path} is damaged or of another model ({_first_line(error)})") from error
        self._settings.assign(as_text(self.experiment))  # reading has put those of the checkpoint there
        return int(self._iteration.numpy())

    def _refuse_other_settings(self, path):
        made, now = read_experiment(path), dataclasses.asdict(self.experiment)
        # How long to train may change from one start to the next; what an iteration computes may not.
        only_pretrained = made.get("metatrain_iterations") == now["metatrain_iterations"] == 0
        duration = "pretrain_iterations" if only_pretrained else "metatrain_iterations"
        differing = [name for name in now if made.get(name) != now[name] and name != duration]
        if differing:
            listed = ", ".join(f"--{name}={made.get(name)} (now {now[name]})" for name in differing)
            raise UserError(
                f"checkpoint {path} was made with {listed}: give the same flags or, for a new run, another --logdir or "
                "--resume=False"
            )


def as_text(experiment):
    """The settings of an Experiment as a checkpoint holds them; `read_experiment` gives them back."""
    return json.dumps(dataclasses.asdict(experiment))


def available(folder):
    """The iterations of the whole checkpoints in a folder, ascending."""
    names = (re.fullmatch(r"model(\d+)\.index", file.name) for file in Path(folder).glob("model*.index"))
    return sorted(int(name[1]) for name in names if name)


def find(folder, iteration=None):
    """The iteration of the latest checkpoint in a folder, or the given one if it is there.

    Raises:
        UserError: it is not.
    """
    iterations = available(folder)
    if not iterations:
        raise UserError(f"no checkpoint in {folder}: train first, with the same flags and --train=True")
    if iteration is not None and iteration not in iterations:
        raise UserError(f"no checkpoint of iteration {iteration} in {folder}; there are: {str(iterations)[1:-1]}")
    return iterations[-1] if iteration is None else iteration


def put_aside(folder):
    """Renames the folder of an earlier run, if it holds checkpoints, to `<folder>.old1` or the next that is free.

    Returns:
        The new name, or None where there is nothing to put aside.

    Raises:
        UserError: it cannot be renamed.
    """
    if not available(folder):
        return None
    names = (Path(f"{folder}.old{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    try:
        return Path(folder).rename(aside)
    except OSError as error:
        message = f"cannot rename {folder} to {aside} ({error.strerror}): move it yourself, or choose another --logdir"
        raise UserError(message) from error


def read_experiment(path):
    """The settings that a checkpoint was made with, as a dict.

    Raises:
        UserError: it is damaged, or not one of ours.
    """
    try:
        return json.loads(tf.train.load_variable(str(path), _EXPERIMENT))
    except Exception as error:  # TensorFlow documents no list of what a damaged checkpoint may raise
        raise UserError(f"checkpoint {path} is damaged, or not a checkpoint of this project") from error


def _delete(path):
    """Deletes a checkpoint, its index first, so that what is left if the process is killed is no checkpoint."""
    for file in sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: file.suffix != ".index"):
        file.unlink()


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
