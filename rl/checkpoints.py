"""Saves and restores what a reinforcement learning run needs to resume exactly where it was."""

import dataclasses
from pathlib import Path

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import Checkpoints, as_text, read_settings


class PolicyCheckpoints(Checkpoints):
    """The checkpoints `model<iteration>` of one run, written and found like those of a MAML.

    Each holds the policy, the optimiser's state if it has one, the best return so far, the number of iterations done
    and the RLExperiment.

    Args:
        folder: the run's folder; need not exist before the first `save`.
        model: the policy's keras.Model.
        experiment: RLExperiment.
        optimizer: a Keras optimiser; None for TRPO, which has no state.
        keep: number of checkpoints kept; older ones are deleted.
        keep_every: checkpoints of multiples of this iteration are kept for good; None for none.
    """

    def __init__(self, folder, model, experiment, optimizer=None, keep=5, keep_every=None):
        self.folder = Path(folder)
        self.experiment = self.settings = experiment
        self.keep = keep
        self.keep_every = keep_every
        self.best_return = tf.Variable(float("-inf"), dtype=tf.float64, trainable=False)
        self._iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._settings = tf.Variable(as_text(experiment), trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            best_return=self.best_return,
            iteration=self._iteration,
            experiment=self._settings,
            **({"optimizer": optimizer} if optimizer else {}),
        )

    def _refuse_other_settings(self, path):
        made, now = read_settings(path), dataclasses.asdict(self.experiment)
        # How long to train may change from one start to the next; what an iteration computes may not.
        differing = [name for name in now if made.get(name) != now[name] and name != "iterations"]
        if differing:
            listed = ", ".join(f"--{name}={made.get(name)} (now {now[name]})" for name in differing)
            raise UserError(
                f"checkpoint {path} was made with {listed}: give the same flags or, for a new run, another --logdir or "
                "--resume=False"
            )
