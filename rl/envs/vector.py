"""The common part of all environments that step every trajectory of a meta-batch at once."""

import abc
from collections.abc import Sequence

import numpy as np

from data_generators.errors import UserError

MOST_STEPS = 10**9  # of a batch; with this many, the observations alone need 8 GB or more


def to_bounds(actions: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Maps actions from [-1, 1] to [low, high], and clips those outside (rllab's NormalizedEnv).

    Policies act in [-1, 1] in every environment; the actions that they draw are not clipped before this function.
    """
    return np.clip(low + (actions + 1.0) * 0.5 * (high - low), low, high)


class TaskVector(abc.ABC):
    """num_tasks x num_trajectories environments of one kind, stepped together, one trajectory in each.

    After a trajectory is done, it stays done, its observation does not change, and its rewards are 0. There is no
    automatic reset. The horizon is only stored: the caller must stop there.

    Args:
        num_tasks: number of tasks, each with its own goal.
        num_trajectories: number of trajectories of each task.
        horizon: largest number of steps of a trajectory.
        obs_dim: size of an observation without the oracle's part.
        act_dim: size of an action, which is in [-1, 1] in every dimension.
        goal_dim: size of a goal.
        oracle: whether to append the oracle's part to every observation (see `_hint`).

    Attributes:
        first_task: index of the first task within the meta-batch; not 0 if workers share the meta-batch. All random
            numbers of a task depend on its index.
        obs_dim: size of an observation, the oracle's part included.
        diverged: how many trajectories have ended so far because their simulation diverged.

    Raises:
        UserError: a number is not positive, or all trajectories together have more than MOST_STEPS steps.
    """

    first_task = 0

    def __init__(
        self,
        num_tasks: int,
        num_trajectories: int,
        horizon: int,
        *,
        obs_dim: int,
        act_dim: int,
        goal_dim: int,
        oracle: bool = False,
    ):
        sizes = {"tasks": num_tasks, "trajectories per task": num_trajectories, "steps per trajectory": horizon}
        for what, number in sizes.items():
            if number < 1:
                raise UserError(f"The number of {what} must be at least 1, not {number}.")
        if num_tasks * num_trajectories * horizon > MOST_STEPS:
            raise UserError(
                f"{num_tasks} tasks of {num_trajectories} trajectories with {horizon} steps are more than {MOST_STEPS} "
                "steps in one batch: use smaller sizes."
            )
        self.num_tasks = num_tasks
        self.num_trajectories = num_trajectories
        self.horizon = horizon
        self.obs_dim = obs_dim + goal_dim * oracle
        self.act_dim = act_dim
        self.goal_dim = goal_dim
        self.oracle = oracle
        self.diverged = 0
        self._observations = np.zeros((num_tasks * num_trajectories, obs_dim))
        self._goals = np.zeros((num_tasks * num_trajectories, goal_dim))
        self._alive = np.zeros(num_tasks * num_trajectories, bool)

    def reset(self, goals: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        """Begins new trajectories.

        Args:
            goals: [tasks, goal_dim], or [tasks, trajectories, goal_dim] to give every trajectory its own.
            seed: integers that determine the initial states. The initial state of a trajectory depends on the indices
                of its task and itself, not on the number of trajectories.

        Returns:
            observations [tasks, trajectories, obs_dim], float64.

        Raises:
            UserError: the goals have another shape.
        """
        self._goals = self._goal_of_each_trajectory(np.asarray(goals, np.float64))
        self._alive[:] = True
        self._observations = self._start(seed)
        return self._shown()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Makes one step of every trajectory that is not done.

        Args:
            actions: [tasks, trajectories, act_dim], in the policy's units; they are clipped to [-1, 1].

        Returns:
            observations [tasks, trajectories, obs_dim] float64, rewards [tasks, trajectories] float64 and dones [tasks,
            trajectories] bool.

        Raises:
            UserError: the actions have another shape.
        """
        actions, shape = np.asarray(actions, np.float64), (self.num_tasks, self.num_trajectories, self.act_dim)
        if actions.shape != shape:
            raise UserError(
                f"Actions must be [tasks, trajectories, act_dim], {list(shape)}, not {list(actions.shape)}."
            )
        actions = actions.reshape(-1, self.act_dim)
        observations, rewards, dones = self._move(actions)
        ended = ~self._alive
        if ended.any():
            observations[ended] = self._observations[ended]
            rewards[ended] = 0.0
            dones |= ended
        self._observations = observations
        self._alive = ~dones
        return self._shown(), self._per_task(rewards), self._per_task(dones)

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Frees what the environments hold. May be called more than once."""

    @abc.abstractmethod
    def _start(self, seed: Sequence[int]) -> np.ndarray:
        """Begins all trajectories; returns observations [tasks * trajectories, obs_dim] without the oracle's part."""

    @abc.abstractmethod
    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Makes a step with actions [tasks * trajectories, act_dim]; returns new arrays: observations, rewards, dones.

        The values of trajectories that are done (self._alive is False) are ignored.
        """

    def _hint(self, goals: np.ndarray) -> np.ndarray:
        """Returns what an oracle observes of goals [n, goal_dim], an array of the same shape."""
        return goals

    def _goal_of_each_trajectory(self, goals: np.ndarray) -> np.ndarray:
        of_each = (self.num_tasks, self.num_trajectories, self.goal_dim)
        if goals.shape == (self.num_tasks, self.goal_dim):
            goals = np.broadcast_to(goals[:, None], of_each)
        if goals.shape != of_each:
            raise UserError(
                f"Goals of {self.num_tasks} tasks must have the shape {(self.num_tasks, self.goal_dim)}, or {of_each} "
                f"for a goal of every trajectory, not {goals.shape}."
            )
        return goals.reshape(self.num_tasks * self.num_trajectories, self.goal_dim)

    def _shown(self) -> np.ndarray:
        """Returns what the policy observes, [tasks, trajectories, obs_dim], as a copy."""
        parts = [self._observations, self._hint(self._goals)] if self.oracle else [self._observations]
        return self._per_task(np.concatenate(parts, axis=-1))

    def _per_task(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(self.num_tasks, self.num_trajectories, *values.shape[1:])
