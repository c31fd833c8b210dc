"""2D navigation of one point or many: a point in the plane moves to a goal (the original's point_env_randgoal.py)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image, ImageDraw

from rl.envs.goals import GoalEnv, GoalRange, action_of
from rl.envs.vector import TaskVector, to_bounds

STEP = 0.1  # the longest step along an axis
REACHED = 0.01  # a trajectory is done if the point is closer to the goal than this along both axes

_PIXELS = 320
_SHOWN = 0.75  # the picture shows the plane from -0.75 to 0.75


def move(positions: np.ndarray, actions: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moves one point, or many at once, by one step.

    The reward is minus the distance to the goal. (The paper says the squared distance; the original's code and the
    published returns have it unsquared.)

    Args:
        positions: [..., 2], before the step.
        actions: [..., 2] in [-1, 1], scaled to steps of up to 0.1 and clipped.
        goals: [..., 2].

    Returns:
        positions [..., 2] after the step, rewards [...], dones [...].
    """
    positions = positions + to_bounds(actions, -STEP, STEP)
    offsets = positions - goals
    rewards = -np.sqrt(np.square(offsets).sum(axis=-1))
    return positions, rewards, (np.abs(offsets) < REACHED).all(axis=-1)


class PointNavigation(GoalEnv):
    """2D navigation as a Gymnasium environment.

    Args:
        goals: range of the goals.
        goal: [2], the goal of all trajectories; None draws a new one at every reset.
        oracle: whether to append the goal to the observation.
        render_mode: None or "rgb_array".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        goals: GoalRange,
        goal: np.ndarray | None = None,
        oracle: bool = False,
        render_mode: str | None = None,
    ):
        super().__init__(goals, goal)
        self.oracle = oracle
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2 + 2 * oracle,), np.float64)
        self._trail = [np.zeros(2)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Puts the point at the origin."""
        super().reset(seed=seed)
        self.begin_goal(self.np_random)
        self._trail = [np.zeros(2)]
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Moves the point, see `move`."""
        position, reward, done = move(self._trail[-1], action_of(self, action), self.goal)
        self._trail.append(position)
        return self._observation(), float(reward), bool(done), False, {}

    def render(self) -> np.ndarray | None:
        """Draws the plane with the goal (red), the path so far and the point: [320, 320, 3] uint8."""
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
        """Moves the point to the position in an observation, to render a trajectory that was sampled elsewhere."""
        self._trail.append(np.asarray(observation[:2], np.float64))

    def _observation(self) -> np.ndarray:
        return np.concatenate([self._trail[-1], self.goal]) if self.oracle else self._trail[-1].copy()


def _pixel(position) -> tuple[float, float]:
    x, y = position
    return (x + _SHOWN) / (2 * _SHOWN) * _PIXELS, (_SHOWN - y) / (2 * _SHOWN) * _PIXELS


class PointNavigationTasks(TaskVector):
    """2D navigation for all trajectories of a meta-batch, by a few operations on arrays; see `TaskVector`."""

    def __init__(self, num_tasks: int, num_trajectories: int, horizon: int, oracle: bool = False):
        super().__init__(num_tasks, num_trajectories, horizon, obs_dim=2, act_dim=2, goal_dim=2, oracle=oracle)

    def _start(self, seed: Sequence[int]) -> np.ndarray:
        return np.zeros_like(self._observations)  # always at the origin

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return move(self._observations, actions, self._goals)
