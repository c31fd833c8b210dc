"""Trajectories of a batch of tasks, padded to one length."""

from typing import NamedTuple

import numpy as np


class Paths(NamedTuple):
    """Whole paths of every task of a batch; entries after a path's end are zero.

    observations: [tasks, paths, horizon, obs_dim] float32.
    actions: [tasks, paths, horizon, act_dim] float32, samples of the policy as drawn, not clipped, in its own units.
    rewards: [tasks, paths, horizon].
    mask: [tasks, paths, horizon] float32, 1 for steps that were taken, then 0.
    means: [tasks, paths, horizon, act_dim] float32, means of the policy that sampled.
    log_stds: [tasks, act_dim] float32, logarithms of its standard deviations.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray
    means: np.ndarray
    log_stds: np.ndarray
