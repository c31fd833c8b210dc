"""Goals: the ranges from which they are drawn, the test goals, and the vectors that hold goals of any form.

A user's goals may be numbers, arrays, or dicts, lists and tuples of them.
"""

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from data_generators.errors import UserError

SUPPORTED = (
    "supported are a number (int, float, bool or NumPy's), an array of numbers, and dicts, lists and tuples of these"
)
_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)
_LARGEST = 2**53  # float64 can represent every whole number up to here


class GoalRange(NamedTuple):
    """A range of goals, uniform in [low, high) in `size` dimensions: positions in metres, or velocities in m/s.

    A goal direction is drawn as a number too: the lower half of the range means backward. test_seed is the NumPy seed
    of the published test goals.
    """

    low: float
    high: float
    size: int
    test_seed: int

    @property
    def middle(self) -> float:
        """The middle of the range; a goal direction below it means backward."""
        return (self.low + self.high) / 2

    def draw(self, random: np.random.Generator | np.random.RandomState, n: int) -> np.ndarray:
        """Draws goals [n, size], float64."""
        return random.uniform(self.low, self.high, (n, self.size))

    def draw_test(self, n: int) -> np.ndarray:
        """The goals [n, size] of the original's test scripts, which seed NumPy's global generator (an MT19937)."""
        return self.draw(np.random.RandomState(self.test_seed), n)

    def __str__(self):
        return f"uniform in [{self.low:g}, {self.high:g})"


class GoalForm(NamedTuple):
    """The form that all goals of one environment have; it converts a goal to a vector of float64 and back.

    kind: type of the goal, or of a part of it.
    parts: GoalForm of each part, by key for a dict, by index for a list or tuple; None for numbers and arrays.
    shape, dtype: shape and dtype of an array.
    """

    kind: type
    parts: dict | None = None
    shape: tuple[int, ...] = ()
    dtype: np.dtype | None = None

    @classmethod
    def of(cls, goal: Any) -> "GoalForm":
        """Determines the form of a goal.

        Raises:
            UserError: the goal is of a kind that is not supported.
        """
        kind = type(goal)
        if kind is dict:
            return cls(kind, {key: cls.of(part) for key, part in goal.items()})
        if isinstance(goal, list | tuple):
            return cls(kind, {i: cls.of(part) for i, part in enumerate(goal)})
        if isinstance(goal, _NUMBERS):
            return cls(kind)
        if not hasattr(goal, "__array__"):
            raise UserError(f"sample_task gives a goal with {_described(goal)} in it; {SUPPORTED}.")
        array = np.asarray(goal)  # also an array of another library; `restore` makes it NumPy's
        if array.dtype.kind not in "biuf":
            raise UserError(f"sample_task gives a goal with an array of {array.dtype}; {SUPPORTED}.")
        return cls(np.ndarray, None, array.shape, array.dtype)

    @property
    def size(self) -> int:
        """Number of numbers in a goal."""
        if self.parts is not None:
            return sum(part.size for part in self.parts.values())
        return int(np.prod(self.shape))

    def flatten(self, goal: Any) -> np.ndarray:
        """Converts a goal to a vector [size] float64.

        Raises:
            UserError: the goal has another form, or a number that float64 cannot hold.
        """
        if not self._takes(GoalForm.of(goal)):
            raise UserError(
                f"sample_task gives {self.of(goal).text()} after {self.text()}: let all goals have one form."
            )
        return np.concatenate([np.zeros(0), *self._numbers(goal)])

    def restore(self, vector: np.ndarray) -> Any:
        """Converts a vector [size] to a new goal, with the types, shapes and keys that sample_task gave."""
        if self.parts is None:
            return self._leaf(vector)
        restored, begin = {}, 0
        for key, part in self.parts.items():
            restored[key] = part.restore(vector[begin : begin + part.size])
            begin += part.size
        if self.kind is dict:
            return restored
        make = getattr(self.kind, "_make", self.kind)  # _make: of a namedtuple
        return make(restored.values())

    def text(self) -> str:
        """Describes the form in words."""
        if self.parts is not None:
            keys = f" of {', '.join(map(str, self.parts))}" if self.kind is dict else f" of {len(self.parts)}"
            return f"a {self.kind.__name__}{keys}"
        return f"{self.dtype} {self.shape}" if self.dtype is not None else f"a number of type {self.kind.__name__}"

    def _takes(self, other):
        """Whether this form can hold goals of another form; a float can hold a whole number, for example."""
        if self.parts is not None or other.parts is not None:
            same = (self.kind, list(self.parts or ())) == (other.kind, list(other.parts or ()))
            return same and all(part._takes(other.parts[key]) for key, part in self.parts.items())
        if self.shape != other.shape or (self.dtype is None) != (other.dtype is None):
            return False
        if self.dtype is not None:
            return np.can_cast(other.dtype, self.dtype, "same_kind")
        return self.kind == other.kind or issubclass(self.kind, float | np.floating)

    def _numbers(self, goal):
        if self.parts is None:
            return [_exact(goal).ravel()]
        return [number for key, part in self.parts.items() for number in part._numbers(goal[key])]

    def _leaf(self, vector):
        if self.dtype is not None:
            return vector.reshape(self.shape).astype(self.dtype)
        number = float(vector[0])
        whole = issubclass(self.kind, bool | int | np.bool_ | np.integer)
        return self.kind(int(number) if whole else number)


def _exact(goal):
    array = np.asarray(goal)  # an array of objects, if an int has more than 64 bits
    if array.dtype.kind in "iuO" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > _LARGEST:
        raise UserError("sample_task gives a number that float64 cannot hold: whole numbers may be up to 2**53.")
    return array.astype(np.float64)


def _described(goal):
    return "None" if goal is None else f"a {type(goal).__name__}"


class GoalEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A Gymnasium environment whose reward depends on a goal.

    `set_task` fixes the goal; until then every reset draws a new one. (In the original, a reset without a goal keeps
    the goal that it drew first, so that a policy pretrained over "random goals" sees few of them.)

    Args:
        goals: range of the goals.
        goal: goal of all trajectories; None draws a new one at every reset.

    Attributes:
        goal: current goal, [size] float64.
    """

    goal: np.ndarray

    def __init__(self, goals: GoalRange, goal: np.ndarray | float | None = None):
        self._goal_range = GoalRange(*goals)  # a list, if Gymnasium read its spec from JSON
        self.goal = np.zeros(self._goal_range.size)
        self.set_task(goal)

    def set_task(self, goal: np.ndarray | float | None) -> None:
        """Fixes the goal from the next reset on; with None, every reset draws a new one.

        Raises:
            UserError: the goal does not have the size of the range.
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
        """Sets the goal of a new trajectory; every reset calls this."""
        self.goal = self.sample_task(random) if self._fixed_goal is None else self._fixed_goal.copy()


def action_of(env: gymnasium.Env, action: Any) -> np.ndarray:
    """Returns an action as float64; UserError unless it has the shape of the action space: NumPy would broadcast it."""
    array = np.asarray(action, np.float64)
    if array.shape != env.action_space.shape:
        shapes = f"{list(env.action_space.shape)}, not {list(array.shape)}"
        raise UserError(f"An action of {type(env.unwrapped).__name__} is an array {shapes}.")
    return array
