"""A user's own Gymnasium environment, made by its id, as many copies as a meta-batch has trajectories.

It needs a bounded Box of actions, a Box of observations, reset and step as Gymnasium's, and two methods:
    sample_task(generator)   draws a goal with a numpy.random.Generator
    set_task(goal)           takes a goal, before the reset that begins a trajectory
A goal is a number, an array of numbers of any shape, or a dict, list or tuple of these. All goals of an environment
have one form: the same keys, types and shapes. set_task gets a goal just as sample_task gave it, a copy of its own: an
int as an int, which may be an index; an array of the same shape and dtype; a dict of the same keys. In between, goals
are vectors of float64, which hold whole numbers up to 2**53; an oracle observes that vector. Where a wrapper has the
methods, too, those of the outermost one count.
"""

import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from data_generators.errors import UserError, importing
from rl.envs.goals import GoalForm
from rl.envs.noise import Stream, generator
from rl.envs.vector import TaskVector, to_bounds

SUPPORTED = "supported are a bounded Box of actions, a Box of observations, set_task(goal) and sample_task(generator)"
_MODULE = re.compile(r"[^\s:/\\\0.]+(\.[^\s:/\\\0.]+)*")


def make_by_id(name: str) -> gymnasium.Env:
    """Makes an environment, which says in a sentence where its reset and step do not give what Gymnasium's do.

    Args:
        name: "Id", or "module:Id" to import the module first.

    Raises:
        UserError: there is none of that name, its module cannot be imported, or it is none of Gymnasium's.
    """
    module, colon, id = name.rpartition(":")
    if not id or (colon and not _MODULE.fullmatch(module)):
        raise UserError(f"Gymnasium cannot make the environment {name!r}: give the id of your own as module:Id.")
    purpose = f"Gymnasium cannot make the environment {name!r}"
    if module:
        importing(importlib.import_module, module, purpose)
    spec = gymnasium.registry.get(id)
    if spec is not None and isinstance(spec.entry_point, str):
        importing(load_env_creator, spec.entry_point, purpose)
    try:
        env = gymnasium.make(id, disable_env_checker=True)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    except TypeError as error:
        if error.__cause__ is not None:  # raised by the environment itself
            raise
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    return _with_contract(env, name)


class Contract(gymnasium.Wrapper):
    """Refuses results of another number of values than Gymnasium's, such as those of the old Gym.

    Args:
        env: what the user's entry point gave; Gymnasium's own wrappers, which take results apart, come around this.
        name: of the environment, for the sentence.
    """

    def __init__(self, env: gymnasium.Env, name: str):
        super().__init__(env)
        self._name = name

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        """As that of the environment."""
        result = self.env.reset(seed=seed, **({} if options is None else {"options": options}))
        return self._checked(result, 2, "reset", "observation, info")

    def step(self, action: np.ndarray) -> tuple:
        """As that of the environment."""
        result = self.env.step(action)
        return self._checked(result, 5, "step", "observation, reward, terminated, truncated, info")

    def _checked(self, result, number, method, values):
        if isinstance(result, tuple) and len(result) == number:
            return result
        given = f"{len(result)} values" if isinstance(result, tuple) else f"a single {type(result).__name__}"
        raise UserError(f"{method} of {self._name} gives {given}, where Gymnasium's gives {number}: {values}.")


def _with_contract(env, name):
    """The environment with the Contract around what its entry point gave."""
    outer = None
    inner = env
    while isinstance(inner, gymnasium.Wrapper) and type(inner).__module__.startswith("gymnasium."):
        outer, inner = inner, inner.env
    try:
        inspect.signature(inner.reset).bind(seed=0)
    except TypeError as error:
        raise UserError(f"reset of {name} takes no seed, although Gymnasium's does: {error}.") from error
    if outer is None:
        return Contract(env, name)
    outer.env = Contract(inner, name)
    return env


class OwnTasks(TaskVector):
    """Any Gymnasium environment with goals, stepped one trajectory after the other; see `TaskVector`.

    Args:
        name: an id that gymnasium.make knows; "module:Id" imports the module first.

    Raises:
        UserError: the environment is unknown or lacks something that this module's docstring asks for. So do `reset`
            and `step`, for what the environment returns.
    """

    def __init__(self, name: str, num_tasks: int, num_trajectories: int, horizon: int, oracle: bool = False):
        first = make(name)
        actions, observations = _boxes(first)
        self._form = goal_form(first)
        super().__init__(
            num_tasks,
            num_trajectories,
            horizon,
            obs_dim=int(np.prod(observations.shape)),
            act_dim=int(np.prod(actions.shape)),
            goal_dim=self._form.size,
            oracle=oracle,
        )
        self._name, self._shape = name, observations.shape
        self._low, self._high = (bound.ravel().astype(np.float64) for bound in (actions.low, actions.high))
        self._envs = [first, *(make(name) for _ in range(num_tasks * num_trajectories - 1))]

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _start(self, seed: Sequence[int]) -> np.ndarray:
        observations = np.empty_like(self._observations)
        for i, env in enumerate(self._envs):
            task, trajectory = divmod(i, self.num_trajectories)
            env.get_wrapper_attr("set_task")(self._form.restore(self._goals[i]))
            own_seed = int(generator((*seed, trajectory), Stream.RESETS, self.first_task + task).integers(2**31))
            observation, _ = env.reset(seed=own_seed)
            observations[i] = self._flat(observation, "reset")
        return observations

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        actions = to_bounds(actions, self._low, self._high)
        observations, rewards, dones = self._observations.copy(), np.zeros(len(actions)), np.zeros(len(actions), bool)
        for i in np.flatnonzero(self._alive):
            space = self._envs[i].action_space
            action = actions[i].reshape(space.shape).astype(space.dtype)
            observation, reward, terminated, truncated, _ = self._envs[i].step(action)
            observations[i] = self._flat(observation, "step")
            rewards[i] = self._number(reward, "a reward")
            dones[i] = self._number(terminated, "`terminated`") or self._number(truncated, "`truncated`")
        return observations, rewards, dones

    def _flat(self, observation: Any, method: str) -> np.ndarray:
        """An observation as a vector, if it is what the environment's space says: NumPy would spread a shorter one."""
        array = _array(observation)
        if array is None or array.shape != self._shape:
            raise UserError(
                f"{method} of {self._name} gives {_described(observation)} as an observation, where its "
                f"observation_space has arrays of numbers of shape {self._shape}."
            )
        return array.ravel()

    def _number(self, value: Any, what: str) -> float:
        if isinstance(value, float | bool):  # the usual ones, in less time
            return value
        array = _array(value)
        if array is None or array.size != 1:
            raise UserError(f"step of {self._name} gives {_described(value)} as {what}, which must be a single number.")
        return array.item()


def make(name: str) -> gymnasium.Env:
    """Makes a user's environment.

    Raises:
        UserError: it is unknown, or cannot serve; the message says what is missing.
    """
    env = make_by_id(name)
    for space, what in ((env.action_space, "actions"), (env.observation_space, "observations")):
        if not isinstance(space, spaces.Box):
            raise UserError(f"The {what} of {name} are a {type(space).__name__} space; {SUPPORTED}.")
        if 0 in space.shape:
            raise UserError(f"The {what} of {name} are arrays of shape {space.shape}, without a number; {SUPPORTED}.")
    if not _boxes(env)[0].is_bounded():
        raise UserError(f"The actions of {name} are not bounded; {SUPPORTED}.")
    for method, argument in (("set_task", "goal"), ("sample_task", "generator")):
        found = env.get_wrapper_attr(method) if env.has_wrapper_attr(method) else None
        if not callable(found):
            raise UserError(f"{name} has no method {method}; {SUPPORTED}.")
        try:
            inspect.signature(found).bind(None)
        except TypeError as error:
            raise UserError(f"{method} of {name} does not take a {argument} alone: {error}; {SUPPORTED}.") from error
    return env


def _boxes(env: gymnasium.Env) -> tuple[spaces.Box, spaces.Box]:
    """Of actions and of observations, which `make` has checked; in Gymnasium's types they are spaces of any kind."""
    return cast(spaces.Box, env.action_space), cast(spaces.Box, env.observation_space)


def goal_form(env: gymnasium.Env) -> GoalForm:
    """The form of an environment's goals, by one that is drawn for it.

    Raises:
        UserError: goals of that form are not supported.
    """
    return GoalForm.of(env.get_wrapper_attr("sample_task")(np.random.default_rng(0)))


def draw_goals(name: str, random: np.random.Generator, n: int) -> np.ndarray:
    """Draws goals [n, goal_dim] of a user's environment.

    Raises:
        UserError: it is unknown or cannot serve, or its goals are not supported.
    """
    env = make(name)
    form, sample_task = goal_form(env), env.get_wrapper_attr("sample_task")
    goals = [form.flatten(sample_task(random)) for _ in range(n)]  # each before the next, which may be the same object
    env.close()
    return np.stack(goals)


def _array(value):
    """An array of real numbers, or None where the value is none."""
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        return None
    return array if array.dtype.kind in "biuf" else None


def _described(value):
    array = _array(value)
    if value is None or array is None:
        return "None" if value is None else f"a {type(value).__name__}"
    return f"numbers of shape {array.shape}" if array.shape else "a single number"
