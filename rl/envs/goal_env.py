"""Goals of environments in Gymnasium's single form."""

import numpy as np

from data_generators.errors import UserError
from rl.envs.goals import GoalRange


class GoalEnv:
    """A mixin for Gymnasium environments whose reward depends on a goal.

    `set_task` fixes the goal; until then every reset draws a new one. (In the original, a reset without a goal keeps
    the goal that it drew first, so that a policy pretrained over "random goals" sees few of them.)

    Attributes:
        goal: the goal at present, [size] float64.
    """

    goal: np.ndarray

    def init_goal(self, goal_range: GoalRange, goal: np.ndarray | float | None) -> None:
        """Sets the range of the goals, and the goal unless it is None."""
        self._goal_range = goal_range
        self.goal = np.zeros(goal_range.size)
        self.set_task(goal)

    def set_task(self, goal: np.ndarray | float | None) -> None:
        """Fixes the goal from the next reset on; None has every reset draw one again.

        Raises:
            UserError: the goal has another size.
        """
        if goal is not None:
            goal = np.array(goal, np.float64).reshape(-1)
            if goal.size != self._goal_range.size:
                size = self._goal_range.size
                raise UserError(f"A goal of {type(self).__name__} has {size} numbers, not {goal.size}: give {size}.")
        self._fixed_goal = goal

    def sample_task(self, random: np.random.Generator) -> np.ndarray:
        """Draws a goal, [size] float64."""
        return self._goal_range.draw(random, 1)[0]

    def begin_goal(self, random: np.random.Generator) -> None:
        """To be called by every reset: the goal of the path that begins."""
        self.goal = self.sample_task(random) if self._fixed_goal is None else self._fixed_goal
