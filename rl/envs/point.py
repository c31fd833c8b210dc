"""2D navigation, one point and many: a point in the plane moves to a goal (the original's point_env_randgoal.py)."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from PIL import Image, ImageDraw

from rl.envs.goals import GOAL_RANGES, GoalEnv
from rl.envs.vector import TaskVector, to_bounds

STEP = 0.1  # the longest step along an axis
REACHED = 0.01  # closer than this to the goal along both axes, a path is done

_PIXELS = 320
_SHOWN = 0.75  # the picture shows the plane from -0.75 to 0.75


def move(positions: np.ndarray, actions: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of one point, or of many at once.

    The reward is minus the distance to the goal. (The paper says the squared distance; the original's code and the
    published returns have it unsquared.)

    Args:
        positions: [..., 2], from where.
        actions: [..., 2] in [-1, 1], scaled to steps of up to 0.1 and clipped.
        goals: [..., 2].

    Returns:
        positions [..., 2], rewards [...], dones [...].
    """
    positions = positions + to_bounds(actions, -STEP, STEP)
    offsets = positions - goals
    rewards = -np.sqrt(np.square(offsets).sum(axis=-1))
    return positions, rewards, (np.abs(offsets) < REACHED).all(axis=-1)


class PointNavigation(GoalEnv, gymnasium.Env[np.ndarray, np.ndarray]):
    """2D navigation as a Gymnasium environment.

    Args:
        goal: [2], fixed for all paths; None draws a goal uniformly in [-0.5, 0.5)^2 at every reset.
        oracle: append the goal to the observation.
        render_mode: None or "rgb_array".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, goal: np.ndarray | None = None, oracle: bool = False, render_mode: str | None = None):
        self.init_goal(GOAL_RANGES["point_navigation"], goal)
        self.oracle = oracle
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2 + 2 * oracle,), np.float64)
        self._trail = [np.zeros(2)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Puts the point at the origin."""
        super().reset(seed=seed)
        self.begin_goal(self.np_random)
        self._trail = [np.zeros(2)]
        return self._observation(), {}

    def step(self, action: np.ndarray):
        """Moves the point, see `move`."""
        position, reward, done = move(self._trail[-1], np.asarray(action, np.float64), self.goal)
        self._trail.append(position)
        return self._observation(), float(reward), bool(done), False, {}

    def render(self) -> np.ndarray | None:
        """The plane with the goal (red), the path so far and the point: [320, 320, 3] uint8."""
        if self.render_mode is None:
            return None
        image = Image.new("RGB", (_PIXELS, _PIXELS), "white")
        draw = ImageDraw.Draw(image)
        corners = [_pixel(corner) for corner in ((-0.5, 0.5), (0.5, -0.5))]
        draw.rectangle([*corners[0], *corners[1]], outline="#bbbbbb")  # where goals are drawn from
        draw.circle(_pixel(self.goal), 6, fill="#d55e00")
        draw.line([_pixel(position) for position in self._trail], fill="#0072b2", width=2)
        draw.circle(_pixel(self._trail[-1]), 5, fill="#0072b2")
        return np.asarray(image).copy()

    def place(self, observation: np.ndarray) -> None:
        """Moves the point to where an observation saw it, to render a path that was sampled elsewhere."""
        self._trail.append(np.asarray(observation[:2], np.float64))

    def _observation(self) -> np.ndarray:
        return np.concatenate([self._trail[-1], self.goal]) if self.oracle else self._trail[-1].copy()


def _pixel(position) -> tuple[float, float]:
    x, y = position
    return (x + _SHOWN) / (2 * _SHOWN) * _PIXELS, (_SHOWN - y) / (2 * _SHOWN) * _PIXELS


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
