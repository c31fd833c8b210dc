"""The original code's numbers (float64) of policy updates, as policies and samples of this project."""

import functools
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from rl.advantages import Samples
from rl.policy import GaussianPolicy, gaussian_mlp

FOLDER = Path(__file__).parents[1] / "goldens" / "rl"
SETTINGS = json.loads((FOLDER / "trpo.json").read_text())


def estimates():
    """Returns the golden arrays of returns, baselines, advantages, Gaussians and conjugate gradient."""
    with np.load(FOLDER / "estimates.npz") as arrays:
        return dict(arrays)


class Golden:
    """The data and results of one configuration, by the original's names."""

    def __init__(self, name, dtype="float64"):
        self.name = name
        self.dtype = dtype
        self.settings = SETTINGS[name]
        self.arrays = _arrays(name)

    def __getitem__(self, key):
        return self.arrays[key]

    def tensor(self, key):
        return tf.constant(self[key], self.dtype)

    def policy(self):
        """Returns a policy at theta0."""
        settings = {"obs_dim": 2, "act_dim": 2, "hidden": (8, 8)} | self.settings
        hidden = tuple(settings["hidden"])
        policy = GaussianPolicy(gaussian_mlp(settings["obs_dim"], settings["act_dim"], hidden, dtype=self.dtype))
        policy.assign(self.tensor("theta0"))
        return policy

    def samples(self, step):
        """Returns the samples of all tasks, drawn after `step` inner updates."""
        of_tasks = [self._samples(f"data/s{step}_t{task}") for task in range(self.settings["meta_batch"])]
        return Samples(*(tf.stack(values) for values in zip(*of_tasks, strict=True)))

    def update_samples(self, update):
        """Returns the samples of an update in test-time adaptation, which has one task."""
        return Samples(*(value[None] for value in self._samples(f"data/u{update}")))

    def _samples(self, prefix):
        arrays = [self[f"{prefix}/{key}"] for key in ("obs", "act", "adv", "old_mean", "old_log_std")]
        observations, actions, advantages, means, log_stds = (tf.constant(array, self.dtype) for array in arrays)
        return Samples(observations, actions, advantages, tf.ones_like(advantages), means, log_stds[0])


@functools.cache
def _arrays(name):
    with np.load(FOLDER / "trpo.npz") as arrays:
        return {key.removeprefix(f"{name}/"): arrays[key] for key in arrays if key.startswith(f"{name}/")}


def flat(params):
    """Returns parameters with a task axis as one array [tasks, parameters]."""
    return np.concatenate([np.reshape(p, (len(p), -1)) for p in params], axis=1)
