"""Samples whole trajectories of all tasks of a meta-batch with one policy call per time step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from data_generators.errors import UserError
from rl import advantages
from rl.envs.noise import Stream, normal
from rl.envs.vector import TaskVector

Act = Callable[[np.ndarray], np.ndarray]


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


def sample(envs: TaskVector, act: Act, log_std: np.ndarray, goals: np.ndarray, seed: Sequence[int]) -> Paths:
    """Samples exactly one path for every path of every task, each until it is done or at the horizon.

    (The original's parallel sampler returns up to one path more per process than was asked for.)

    Args:
        envs: the environments, from `rl.envs.make_vector`.
        act: the policies' means [tasks, paths, act_dim] for observations [tasks, paths, obs_dim] float32; a task's
            rows are that task's policy's.
        log_std: [tasks, act_dim], logarithms of the policies' standard deviations.
        goals: [tasks, goal_dim], or [tasks, paths, goal_dim] for a goal per path.
        seed: integers, for instance (seed of the run, iteration, number of updates). Initial states and the
            noise in the actions are pure functions of it and of the task, the path and the step.

    Returns:
        Paths of shape [tasks, paths, horizon, ...], whose rewards are float64.

    Raises:
        UserError: an observation, a reward or an action is not finite; the message names the task and the step. (A
            MuJoCo simulation that diverges is no error: its path ends, see `TaskVector.diverged`.)
    """
    log_std = np.asarray(log_std, np.float32)
    paths = _empty_paths(envs, log_std)
    std = np.exp(log_std)[:, None]
    noise = normal(
        seed, Stream.ACTIONS, envs.num_tasks, (envs.paths_per_task, envs.horizon, envs.act_dim), dtype=np.float32
    )
    alive = np.ones((envs.num_tasks, envs.paths_per_task), bool)
    observed = _observed(envs.reset(goals, seed), alive, 0)
    for step in range(envs.horizon):
        means = np.asarray(act(observed), np.float32)
        actions = means + std * noise[:, :, step]
        _check_finite(actions, alive, "The policy's action", step)
        observations, rewards, dones = envs.step(actions)
        _check_finite(rewards, alive, "The environment's reward", step)
        following = _observed(observations, alive, step)
        for whole, now in (
            (paths.observations, observed),
            (paths.actions, actions),
            (paths.rewards, rewards),
            (paths.mask, np.float32(1)),
            (paths.means, means),
        ):
            _record(whole, step, now, alive)
        observed = following
        alive &= ~dones
        if not alive.any():
            break
    return paths


def path_returns(paths):
    """Undiscounted return of every path, [tasks, paths] float64."""
    return np.sum(paths.rewards * paths.mask, axis=-1, dtype=np.float64)


def _empty_paths(envs: TaskVector, log_std: np.ndarray) -> Paths:
    shape = (envs.num_tasks, envs.paths_per_task, envs.horizon)
    return Paths(
        observations=np.zeros((*shape, envs.obs_dim), np.float32),
        actions=np.zeros((*shape, envs.act_dim), np.float32),
        rewards=np.zeros(shape, np.float64),
        mask=np.zeros(shape, np.float32),
        means=np.zeros((*shape, envs.act_dim), np.float32),
        log_stds=log_std,
    )


def _observed(observations: np.ndarray, alive: np.ndarray, step: int) -> np.ndarray:
    """What the policies see; a number beyond float32 is infinite there."""
    with np.errstate(over="ignore"):
        observed = observations.astype(np.float32)
    _check_finite(observed, alive, "The environment's observation", step)
    return observed


def _record(whole: np.ndarray, step: int, now: np.ndarray, alive: np.ndarray):
    """Writes [tasks, paths, ...] `now` as a step of `whole`, leaving zeros where a path has ended."""
    if alive.all():
        whole[:, :, step] = now
    else:
        whole[:, :, step][alive] = now[alive] if np.ndim(now) else now


def _check_finite(values: np.ndarray, alive: np.ndarray, what: str, step: int):
    """Raises UserError for the first task in which values [tasks, paths, ...] of paths under way are not finite."""
    finite = np.isfinite(values)
    if finite.all():
        return
    tasks, paths = np.nonzero(alive & ~finite.reshape(*alive.shape, -1).all(axis=-1))
    if len(tasks):
        raise UserError(
            f"{what} is NaN or infinite in task {tasks[0]} (path {paths[0]}) at step {step}: correct the environment, "
            "or take a smaller step size if the policy's parameters have grown beyond bounds."
        )


class Rollout(NamedTuple):
    """What the policies of a batch of tasks did.

    paths: Paths.
    samples: Samples, the same with advantages.
    explained_variance: of the returns by the linear baseline.
    """

    paths: Paths
    samples: advantages.Samples
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
        return sample(self.envs, lambda o: self.policy.act(params, o).numpy(), log_std, goals, seed)

    def of(self, paths) -> Rollout:
        """Fits the baseline to paths and estimates advantages."""
        return Rollout(paths, *advantages.from_paths(paths, self.discount, self.gae_lambda, np.float32))
