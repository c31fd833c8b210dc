"""Samples whole trajectories of all tasks of a meta-batch with one policy call per time step, without TensorFlow."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_generators.errors import UserError
from rl.envs.noise import Stream, normal
from rl.envs.vector import TaskVector

if TYPE_CHECKING:  # rl.policy imports TensorFlow
    from rl.policy import GaussianPolicy, Params

Act = Callable[[np.ndarray], np.ndarray]


class Trajectories(NamedTuple):
    """Whole trajectories of every task of a batch; entries after the end of a trajectory are zero.

    observations: [tasks, trajectories, horizon, obs_dim] float32.
    actions: [tasks, trajectories, horizon, act_dim] float32, as the policy drew them: neither clipped nor scaled.
    rewards: [tasks, trajectories, horizon].
    mask: [tasks, trajectories, horizon] float32, 1 for steps that were taken, then 0.
    means: [tasks, trajectories, horizon, act_dim] float32, means of the policy that sampled.
    log_stds: [tasks, act_dim] float32, logarithms of that policy's standard deviations.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray
    means: np.ndarray
    log_stds: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of every trajectory, [tasks, trajectories] float64."""
        return (self.rewards * self.mask).sum(axis=-1, dtype=np.float64)


def sample_tasks(
    policy: "GaussianPolicy", params: "Params", envs: TaskVector, goals: np.ndarray, seed: Sequence[int]
) -> Trajectories:
    """Samples trajectories of a policy that has different parameters for each task.

    Args:
        policy: GaussianPolicy.
        params: list of tensors with a leading task axis.
        envs, goals, seed: as for `sample`.

    Returns:
        Trajectories.

    Raises:
        UserError: as for `sample`.
    """
    return sample(envs, lambda o: policy.act(params, o).numpy(), policy.log_std(params).numpy(), goals, seed)


def sample(envs: TaskVector, act: Act, log_std: np.ndarray, goals: np.ndarray, seed: Sequence[int]) -> Trajectories:
    """Samples exactly as many trajectories as `envs` holds, each until it is done or at the horizon.

    (The original's parallel sampler returns up to one trajectory more per process than was asked for.)

    Args:
        envs: the environments, from `rl.envs.make_vector`.
        act: function from observations [tasks, trajectories, obs_dim] float32 to the policies' means [tasks,
            trajectories, act_dim]; the rows of a task are means of that task's policy.
        log_std: [tasks, act_dim], logarithms of the policies' standard deviations.
        goals: [tasks, goal_dim], or [tasks, trajectories, goal_dim] for a goal per trajectory.
        seed: integers, for instance (seed of the run, iteration, number of updates). Initial states and the
            noise in the actions are pure functions of it and of the task, the trajectory and the step.

    Returns:
        Trajectories, whose rewards are float64.

    Raises:
        UserError: an observation, a reward or an action is not finite; the message names the task and the step. (A
            MuJoCo simulation that diverges is no error: its trajectory ends, see `TaskVector.diverged`.)
    """
    log_std = np.asarray(log_std, np.float32)
    trajectories = _empty(envs, log_std)
    std = np.exp(log_std)[:, None]
    sizes = envs.num_tasks, (envs.num_trajectories, envs.horizon, envs.act_dim)
    noise = normal(seed, Stream.ACTIONS, *sizes, dtype=np.float32, first_task=envs.first_task)
    alive = np.ones((envs.num_tasks, envs.num_trajectories), bool)
    observed = _observed(envs.reset(goals, seed), alive, 0)
    for step in range(envs.horizon):
        means = np.asarray(act(observed), np.float32)
        actions = means + std * noise[:, :, step]
        _check_finite(actions, alive, "The policy's action", step)
        observations, rewards, dones = envs.step(actions)
        _check_finite(rewards, alive, "The environment's reward", step)
        following = _observed(observations, alive, step)
        for whole, now in (
            (trajectories.observations, observed),
            (trajectories.actions, actions),
            (trajectories.rewards, rewards),
            (trajectories.mask, np.array(1, np.float32)),
            (trajectories.means, means),
        ):
            _record(whole, step, now, alive)
        observed = following
        alive &= ~dones
        if not alive.any():
            break
    return trajectories


def _empty(envs: TaskVector, log_std: np.ndarray) -> Trajectories:
    shape = (envs.num_tasks, envs.num_trajectories, envs.horizon)
    return Trajectories(
        observations=np.zeros((*shape, envs.obs_dim), np.float32),
        actions=np.zeros((*shape, envs.act_dim), np.float32),
        rewards=np.zeros(shape, np.float64),
        mask=np.zeros(shape, np.float32),
        means=np.zeros((*shape, envs.act_dim), np.float32),
        log_stds=log_std,
    )


def _observed(observations: np.ndarray, alive: np.ndarray, step: int) -> np.ndarray:
    """Converts observations to float32 for the policies; UserError if one is not finite, or too large for float32."""
    with np.errstate(over="ignore"):
        observed = observations.astype(np.float32)
    _check_finite(observed, alive, "The environment's observation", step)
    return observed


def _record(whole: np.ndarray, step: int, now: np.ndarray, alive: np.ndarray):
    """Writes `now`, [tasks, trajectories, ...], as a step of `whole`; a trajectory that has ended keeps its zeros."""
    if alive.all():
        whole[:, :, step] = now
    else:
        whole[:, :, step][alive] = now[alive] if now.ndim else now


def _check_finite(values: np.ndarray, alive: np.ndarray, what: str, step: int):
    """Raises UserError for the first task whose values [tasks, trajectories, ...] are not finite where `alive`."""
    finite = np.isfinite(values)
    if finite.all():
        return
    tasks, trajectories = np.nonzero(alive & ~finite.reshape(*alive.shape, -1).all(axis=-1))
    if len(tasks):
        raise UserError(
            f"{what} is NaN or infinite in task {tasks[0]} (trajectory {trajectories[0]}) at step {step}: correct the "
            "environment, or take a smaller step size if the policy's parameters have grown beyond bounds."
        )
