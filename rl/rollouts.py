"""Rolls out the policies of a batch of tasks and makes samples of their paths."""

from typing import NamedTuple

import numpy as np

from rl import sampler, samples
from rl.sampler import Paths


class Rollout(NamedTuple):
    """What the policies of a batch of tasks did.

    paths: Paths.
    samples: Samples, the same with advantages.
    explained_variance: of the returns by the linear baseline.
    """

    paths: Paths
    samples: samples.Samples
    explained_variance: float


class Rollouts:
    """Rollouts in one set of environments.

    Args:
        policy: GaussianPolicy.
        envs: of `rl.envs.make_vector`.
        discount, gae_lambda: of the advantages.
    """

    def __init__(self, policy, envs, discount=0.99, gae_lambda=1.0):
        self.policy = policy
        self.envs = envs
        self.discount = discount
        self.gae_lambda = gae_lambda

    def paths(self, params, goals, seed) -> Paths:
        """Rolls out.

        Args:
            params: list of tensors with a leading task axis, each task's own.
            goals: [tasks, goal_dim], or [tasks, paths, goal_dim] for a goal per path.
            seed: tuple of integers, on which all chance depends.
        """
        log_std = self.policy.log_std(params).numpy()
        return sampler.sample(self.envs, lambda o: self.policy.act(params, o).numpy(), log_std, goals, seed)

    def of(self, paths) -> Rollout:
        """Fits the baseline to paths and estimates advantages."""
        return Rollout(paths, *samples.from_paths(paths, self.discount, self.gae_lambda, np.float32))
