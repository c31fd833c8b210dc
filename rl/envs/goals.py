"""The goals of each environment: which are drawn in training, and the 40 that the published returns are means over."""

from typing import NamedTuple

import numpy as np

from rl.envs.noise import Stream, generator

NUM_TEST_GOALS = 40


class GoalRange(NamedTuple):
    """Goals are uniform in [low, high), in `size` dimensions; test_seed is NumPy's seed of the published test goals."""

    low: float
    high: float
    size: int
    test_seed: int

    def draw(self, random: np.random.Generator | np.random.RandomState, n: int) -> np.ndarray:
        """Draws goals [n, size], float64."""
        return random.uniform(self.low, self.high, (n, self.size))


# Positions in metres, and velocities in m/s. A goal direction is drawn as a number too: backward in the lower half.
GOAL_RANGES = {
    "point_navigation": GoalRange(-0.5, 0.5, 2, 1),
    "half_cheetah_velocity": GoalRange(0.0, 2.0, 1, 1),
    "half_cheetah_direction": GoalRange(0.0, 2.0, 1, 1),
    "ant_velocity": GoalRange(0.0, 3.0, 1, 1),
    "ant_direction": GoalRange(0.0, 3.0, 1, 2),
}


def training_goals(goal_range: GoalRange, seed: int, iteration: int, n: int) -> np.ndarray:
    """Goals [n, size] of a meta-iteration: a pure function of the arguments, whatever was drawn before."""
    return goal_range.draw(generator((seed, iteration), Stream.GOALS), n)


def published_goals(goal_range: GoalRange) -> np.ndarray:
    """The goals [40, size] of the original's test scripts, which seed NumPy's global generator (an MT19937)."""
    return goal_range.draw(np.random.RandomState(goal_range.test_seed), NUM_TEST_GOALS)
