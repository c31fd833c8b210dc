"""Saves and restores everything that a run needs to go on exactly where it was."""

import dataclasses
import json
import re
from pathlib import Path

import tensorflow as tf

from data_generators.errors import UserError

_EXPERIMENT = "experiment/.ATTRIBUTES/VARIABLE_VALUE"


class Checkpoints:
    """The checkpoints `model<iteration>` of one run, in its folder.

    Each holds the weights, the optimisers' state, the number of iterations done and the Experiment. TensorFlow writes
    a checkpoint under another name and renames its index last, so that a checkpoint with an index is whole, even if
    the process is killed meanwhile.

    Args:
        folder: the run's folder; need not exist before the first `save`.
        maml: MAML.
        experiment: Experiment, its settings.
        keep: number of checkpoints kept; older ones are deleted.
    """

    def __init__(self, folder, maml, experiment, keep=10):
        self.folder = Path(folder)
        self.experiment = experiment
        self.keep = keep
        self._iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            model=maml.model,
            step_sizes=[s.value for s in maml.step_sizes],
            optimizer=maml.optimizer,
            pretrain_optimizer=maml.pretrain_optimizer,
            iteration=self._iteration,
            experiment=tf.Variable(json.dumps(dataclasses.asdict(experiment)), trainable=False),
        )

    def save(self, iteration):
        """Writes `model<iteration>`, then deletes the oldest beyond those to keep. Returns its path."""
        self._iteration.assign(iteration)
        path = self.folder / f"model{iteration}"
        self._checkpoint.write(str(path))
        for old in available(self.folder)[: -self.keep]:
            for file in self.folder.glob(f"model{old}.*"):
                file.unlink()
        return path

    def restore(self, iteration=None):
        """Restores the latest checkpoint, or that of a given iteration.

        Returns:
            The number of iterations done; None if there is no checkpoint at all and none was asked for.

        Raises:
            UserError: the checkpoint asked for is not there, is damaged, or was made with other settings.
        """
        iterations = available(self.folder)
        if iteration is None and not iterations:
            return None
        if iteration is not None and iteration not in iterations:
            there = ", ".join(map(str, iterations)) or "none"
            raise UserError(f"no checkpoint of iteration {iteration} in {self.folder}; there are: {there}")
        path = self.folder / f"model{iterations[-1] if iteration is None else iteration}"
        self._refuse_other_settings(path)
        try:
            status = self._checkpoint.read(str(path))
            status.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            first_line = str(error).splitlines()[0]
            raise UserError(f"checkpoint {path} is damaged or of another model ({first_line})") from error
        return int(self._iteration.numpy())

    def _refuse_other_settings(self, path):
        made = read_experiment(path)
        now = dataclasses.asdict(self.experiment)
        # How long to train may change from one start to the next; what is computed in each iteration may not.
        differing = [n for n in now if made.get(n) != now[n] and n not in ("metatrain_iterations", "pretrain_iterations")]
        if made.get("pretrain_iterations") != now["pretrain_iterations"]:
            differing.append("pretrain_iterations")
        if differing:
            listed = ", ".join(f"--{n}={made.get(n)} (now {now[n]})" for n in differing)
            raise UserError(
                f"checkpoint {path} was made with {listed}: give the same flags, another --logdir, or --resume=False"
            )


def available(folder):
    """The iterations of the whole checkpoints in a folder, ascending."""
    names = (re.fullmatch(r"model(\d+)\.index", file.name) for file in Path(folder).glob("model*.index"))
    return sorted(int(name[1]) for name in names if name)


def read_experiment(path):
    """The settings that a checkpoint was made with, as a dict.

    Raises:
        UserError: it is damaged, or not one of ours.
    """
    try:
        return json.loads(tf.train.load_variable(str(path), _EXPERIMENT))
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(f"{path} is damaged, or not a checkpoint of this project") from error
