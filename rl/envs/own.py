"""Runs a user's own Gymnasium environment, made by its id, with one copy for each trajectory of a meta-batch.

The environment needs a bounded Box of actions, a Box of observations, Gymnasium's reset and step, and two methods:
    sample_task(generator)   draws a goal with a numpy.random.Generator
    set_task(goal)           sets the goal, before the reset that begins a trajectory
A goal is a number, an array of numbers of any shape, or a dict, list or tuple of these. All goals of an environment
have one form: the same keys, types and shapes. set_task gets a copy of the goal in the form that sample_task gave: an
int stays an int, so it can be an index; an array keeps its shape and dtype; a dict keeps its keys. In between, goals
are vectors of float64, which can hold whole numbers up to 2**53; an oracle observes that vector. If wrappers have
these methods too, those of the outermost wrapper are called.
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
from rl.envs import own_checks
from rl.envs.goals import GoalForm
from rl.envs.noise import Stream, generator
from rl.envs.vector import TaskVector, to_bounds

SUPPORTED = "supported are a bounded Box of actions, a Box of observations, set_task(goal) and sample_task(generator)"
_MODULE = re.compile(r"[^\s:/\\\0.]+(\.[^\s:/\\\0.]+)*")


def make_by_id(name: str, limit: int | None = None) -> gymnasium.Env:
    """Makes an environment whose reset and step raise UserError if they do not return as many values as Gymnasium's.

    Args:
        name: "Id", or "module:Id" to import the module first.
        limit: number of steps after which its trajectories end, in place of the limit with which it is registered.

    Raises:
        UserError: the environment's module cannot be imported, Gymnasium does not know the environment or cannot make
            it, or its reset has no argument `seed`.
    """
    module, colon, id = name.rpartition(":")
    if not id or (colon and not _MODULE.fullmatch(module)):
        raise UserError(f"Gymnasium cannot make the environment {name!r}: give the id of your own as module:Id.")
    purpose = f"Gymnasium cannot make the environment {name!r}"
    if module:
        importing(importlib.import_module, module, purpose)
    spec = gymnasium.registry.get(id)
    creator: Any = None if spec is None else spec.entry_point
    if isinstance(creator, str):
        creator = importing(load_env_creator, creator, purpose)
    if creator is not None:
        _check_arguments(creator, spec.kwargs, purpose)
    try:
        env = gymnasium.make(id, max_episode_steps=limit, disable_env_checker=True)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    except TypeError as error:
        if error.__cause__ is not None:  # raised by the environment itself
            raise
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    return _with_contract(env, name)


def _check_arguments(creator, arguments, purpose):
    """Raises UserError if the arguments that are registered do not fit the entry point's."""
    try:
        inspect.signature(creator, follow_wrapped=False).bind(**arguments)
    except TypeError as error:
        raise UserError(f"{purpose}: {error}; give its arguments as gymnasium.register(..., kwargs=...)") from error
    except ValueError:  # it has no signature
        pass


class Contract(gymnasium.Wrapper):
    """Refuses results that do not have as many values as Gymnasium's, such as those of the old Gym.

    Args:
        env: environment that the user's entry point made. Gymnasium's own wrappers, which unpack results, are outside
            this wrapper.
        name: name of the environment, for the message.
    """

    def __init__(self, env: gymnasium.Env, name: str):
        super().__init__(env)
        self._name = name

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        """Resets the environment; UserError if its result does not have 2 values."""
        result = self.env.reset(seed=seed, **({} if options is None else {"options": options}))
        return self._checked(result, 2, "reset", "observation, info")

    def step(self, action: np.ndarray) -> tuple:
        """Steps the environment; UserError if its result does not have 5 values."""
        result = self.env.step(action)
        return self._checked(result, 5, "step", "observation, reward, terminated, truncated, info")

    def _checked(self, result, number, method, values):
        if isinstance(result, tuple) and len(result) == number:
            return result
        given = f"{len(result)} values" if isinstance(result, tuple) else f"a single {type(result).__name__}"
        raise UserError(f"{method} of {self._name} gives {given}, where Gymnasium's gives {number}: {values}.")


def _with_contract(env, name):
    """Puts the Contract around what the entry point made, inside Gymnasium's own wrappers."""
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
    """Any Gymnasium environment with goals, whose trajectories are stepped one after another; see `TaskVector`.

    Args:
        name: an id that gymnasium.make knows; "module:Id" imports the module first.
        limit: as for `make_by_id`.

    Raises:
        UserError: the environment is unknown, or lacks something that this module's docstring requires, or its copies
            are one object. `reset` and `step` raise it if the environment returns the wrong values.
    """

    def __init__(
        self,
        name: str,
        num_tasks: int,
        num_trajectories: int,
        horizon: int,
        oracle: bool = False,
        limit: int | None = None,
    ):
        first = make(name, limit)
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
        self._envs = [first, *(make(name, limit) for _ in range(num_tasks * num_trajectories - 1))]
        own_checks.refuse_shared(name, self._envs)
        if limit is None:  # a user's
            own_checks.warn(name, first.spec, make, horizon)

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
            action = np.rint(actions[i]) if np.issubdtype(space.dtype, np.integer) else actions[i]
            action = action.reshape(space.shape).astype(space.dtype)
            observation, reward, terminated, truncated, _ = self._envs[i].step(action)
            observations[i] = self._flat(observation, "step")
            rewards[i] = self._number(reward, "a reward")
            dones[i] = self._number(terminated, "`terminated`") or self._number(truncated, "`truncated`")
        return observations, rewards, dones

    def _flat(self, observation: Any, method: str) -> np.ndarray:
        """Flattens an observation; UserError if it has another shape than the space: NumPy would broadcast it."""
        array = _array(observation)
        if array is None or array.shape != self._shape:
            raise UserError(
                f"{method} of {self._name} gives {_described(observation)} as an observation, where its "
                f"observation_space has arrays of numbers of shape {self._shape}."
            )
        return array.ravel()

    def _number(self, value: Any, what: str) -> float:
        if isinstance(value, float | bool):  # the usual types, which need no array
            return value
        array = _array(value)
        if array is None or array.size != 1:
            raise UserError(f"step of {self._name} gives {_described(value)} as {what}, which must be a single number.")
        return array.item()


def make(name: str, limit: int | None = None) -> gymnasium.Env:
    """Makes a user's environment; `limit` as for `make_by_id`.

    Raises:
        UserError: it is unknown, or lacks something; the message says what is missing.
    """
    env = make_by_id(name, limit)
    for attribute, what in (("action_space", "actions"), ("observation_space", "observations")):
        space = getattr(env, attribute, None)
        if space is None:
            raise UserError(f"{name} has no {attribute}; {SUPPORTED}.")
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
    """The spaces of actions and observations, typed as the Boxes that `make` checks; Gymnasium's type is any space."""
    return cast(spaces.Box, env.action_space), cast(spaces.Box, env.observation_space)


def goal_form(env: gymnasium.Env) -> GoalForm:
    """Determines the form of an environment's goals from one goal, which is drawn for this.

    Raises:
        UserError: goals of that form are not supported.
    """
    return GoalForm.of(env.get_wrapper_attr("sample_task")(np.random.default_rng(0)))


def draw_goals(name: str, random: np.random.Generator, n: int) -> np.ndarray:
    """Draws goals [n, goal_dim] of a user's environment.

    Raises:
        UserError: it is unknown or lacks something, or its goals are not supported.
    """
    env = make(name)
    form, sample_task = goal_form(env), env.get_wrapper_attr("sample_task")
    goals = [form.flatten(sample_task(random)) for _ in range(n)]  # at once: the next may be the same object
    env.close()
    return np.stack(goals)


def _array(value):
    """Converts a value to an array of real numbers; None if that is not possible."""
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
