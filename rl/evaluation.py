"""Test-time adaptation: the return of a policy on goals it was not trained on, after 0, 1, ... updates."""

import dataclasses

import numpy as np
import tensorflow as tf

from rl.maml_trpo import FINITE_DIFFERENCE, MAMLTRPO
from rl.sampling import Rollouts, path_returns
from rl.trpo import TrustRegion
from rl.vpg import TaskUpdate

VPG, TRPO = "vpg", "trpo"
_SEED = (2**32 - 1, 2**32 - 1)  # a seed and an iteration that no training reaches


@dataclasses.dataclass(frozen=True, eq=False)
class Adaptation:
    """What adaptation makes of a policy.

    returns: [goals, 1 + updates], mean undiscounted return of the trajectories sampled after so many updates.
    paths: list over updates of Paths, for pictures; None unless they were asked for.
    """

    returns: np.ndarray
    paths: list | None = None

    @property
    def mean(self):
        """[1 + updates] mean over goals."""
        return self.returns.mean(0)

    @property
    def ci95(self):
        """[1 + updates] half width of the 95 % confidence interval of `mean`: 1.96 * std / sqrt(goals)."""
        return 1.96 * self.returns.std(0) / np.sqrt(len(self.returns))


def adapt_to_goals(
    policy, envs, goals, step_sizes, update=VPG, discount=0.99, gae_lambda=1.0, progress=None, keep_paths=False
):
    """Adapts a policy to every goal by itself and samples before and after every update.

    An update is one gradient step on the batch just sampled, over all parameters, its baseline fitted anew.

    Args:
        policy: GaussianPolicy; it is left as it is.
        envs: of `rl.envs.make_vector`, with as many tasks as there are goals.
        goals: [goals, goal_dim].
        step_sizes: of each update; as many updates are made. TRPO only takes their number.
        update: VPG, the plain gradient step of the original's tests, or TRPO, a step in a trust region of 0.01.
        discount, gae_lambda: of the advantages.
        progress: called after each batch of samples.
        keep_paths: whether the adaptation is to have its paths; for ants they take hundreds of megabytes an update.

    Returns:
        Adaptation.

    Raises:
        UserError: numbers are not finite.
    """
    rollouts = Rollouts(policy, envs, discount, gae_lambda)
    change = {VPG: TaskUpdate, TRPO: TrustRegionUpdate}[update](policy)
    params, returns, kept = policy.stacked(len(goals)), [], []
    for number in range(len(step_sizes) + 1):
        paths = rollouts.paths(params, goals, (*_SEED, number))
        returns.append(path_returns(paths).mean(1))
        if keep_paths:
            kept.append(paths)
        if number < len(step_sizes):
            params = change(params, rollouts.of(paths).samples, step_sizes[number])
        if progress:
            progress()
    return Adaptation(np.stack(returns, axis=1), kept if keep_paths else None)


class TrustRegionUpdate:
    """A whole TRPO step, in place of a plain gradient step, for every task by itself.

    Args:
        policy: GaussianPolicy; it is left as it is.
        region: trpo.TrustRegion.
        hessian_product: see `MAMLTRPO`.
    """

    def __init__(self, policy, region=TrustRegion(), hessian_product=FINITE_DIFFERENCE):  # noqa: B008 - it is frozen
        self.policy = policy
        self.learner = MAMLTRPO(policy, region=region, hessian_product=hessian_product)

    def __call__(self, params, samples, step_size=None):
        """Updates every task; arguments as for `vpg.TaskUpdate`, the step size being the trust region's."""
        thetas = [self._of_task([p[task] for p in params], samples, task) for task in range(len(params[0]))]
        return [tf.stack(values) for values in zip(*map(self.policy.unflatten, thetas), strict=True)]

    def _of_task(self, params, samples, task):
        theta = tf.concat([tf.reshape(p, [-1]) for p in params], axis=0)
        of_task = type(samples)(*(value[task : task + 1] for value in samples))
        return self.learner.solve(theta, (), of_task).theta
