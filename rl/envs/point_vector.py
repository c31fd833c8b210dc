"""2D navigation, many points at once: for the meta-learner, and as a Gymnasium vector environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rl.envs.goals import GOAL_RANGES
from rl.envs.point import move
from rl.envs.vector import TaskVector


class PointNavigationTasks(TaskVector):
    """2D navigation for all paths of a meta-batch; see `rl.envs.point` and `TaskVector`."""

    def __init__(self, num_tasks: int, paths_per_task: int, horizon: int, oracle: bool = False):
        super().__init__(num_tasks, paths_per_task, horizon, obs_dim=2, act_dim=2, goal_dim=2, oracle=oracle)

    def _start(self, seed: Sequence[int]) -> np.ndarray:
        return np.zeros_like(self._observations)  # always at the origin

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return move(self._observations, actions, self._goals)


class PointNavigationVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """2D navigation as a Gymnasium vector environment, which resets a point in the step after its path ended.

    Args:
        num_envs: how many points.
        max_episode_steps: after how many steps a path is cut off.
        goal: [2], the same for all points; None draws one for every path.
        oracle: append the goal to the observation.
        render_mode: None; vector environments are not rendered.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 100,
        goal: np.ndarray | None = None,
        oracle: bool = False,
        render_mode: str | None = None,
    ):
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (2 + 2 * oracle,), np.float64)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._fixed_goal = goal
        self._oracle = oracle
        self._max_steps = max_episode_steps
        self._positions = np.zeros((num_envs, 2))
        self._goals = np.zeros((num_envs, 2))
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Puts all points at the origin."""
        super().reset(seed=seed)
        self._begin(np.ones(self.num_envs, bool))
        return self._observations(), {}

    def step(self, actions: np.ndarray):
        """Moves the points; those whose path ended in the last step begin a new one instead, with reward 0."""
        begun = self._ended
        self._positions, rewards, terminated = move(self._positions, np.asarray(actions, np.float64), self._goals)
        self._steps += 1
        self._begin(begun)
        rewards[begun] = 0.0
        terminated[begun] = False
        truncated = self._steps >= self._max_steps
        self._ended = terminated | truncated
        return self._observations(), rewards, terminated, truncated, {}

    def _begin(self, chosen: np.ndarray):
        self._positions[chosen] = 0.0
        self._steps[chosen] = 0
        drawn = GOAL_RANGES["point_navigation"].draw(self.np_random, int(chosen.sum()))
        self._goals[chosen] = drawn if self._fixed_goal is None else self._fixed_goal
        self._ended = np.zeros(self.num_envs, bool)

    def _observations(self) -> np.ndarray:
        parts = [self._positions, self._goals] if self._oracle else [self._positions]
        return np.concatenate(parts, axis=-1)
