"""Tries a user's environment before it is used: trajectories must depend on goal, seed and actions alone.

Runs could not be repeated or resumed otherwise. A few steps cannot prove it, so this only warns, except of copies that
are one and the same object.
"""

import contextlib
import functools
import logging
from collections.abc import Callable

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from data_generators.errors import UserError
from rl.envs.goals import GoalForm

_STEPS = 10
_GOALS = 5  # drawn to find two that differ


def refuse_shared(name: str, envs: list[gymnasium.Env]) -> None:
    """Raises UserError if two copies of an environment are one object, which would step it for both."""
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        raise UserError(
            f"All copies of {name} are one object, so that each would move the others: its entry point must make a new "
            "environment at every call."
        )


_tried = set()  # what `warn` has tried: it warns once in a process


def warn(name: str, spec: EnvSpec | None, make: Callable[[str], gymnasium.Env], horizon: int) -> None:
    """Logs a warning for everything that an environment does otherwise than its trajectories need; only once.

    Args:
        name: name of the environment.
        spec: what Gymnasium knows of it.
        make: function that makes a copy of it, given its name.
        horizon: number of steps that a trajectory is to have.
    """
    limit = spec.max_episode_steps if spec else None
    key = name, horizon, limit, spec and spec.entry_point
    if key in _tried:
        return
    _tried.add(key)
    one, other = make(name), make(name)
    found = []
    if limit is not None and limit < horizon:
        found.append(f"trajectories end after {limit} steps, the limit of its registration, and not at {horizon}")
    with contextlib.suppress(Exception):  # the user's code will raise it again where it is used
        found += _impure(one, other)
    for env in (one, other):
        with contextlib.suppress(Exception):
            env.close()
    for what in found:
        logging.getLogger(__name__).warning("%s: %s", name, what)


def _impure(one, other):
    """Lists what makes trajectories depend on more than goal, seed and actions."""
    form = GoalForm.of(_call(one, "sample_task", np.random.default_rng(0)))
    goals, again = ([form.flatten(_call(env, "sample_task", r)) for r in _generators()] for env in (one, other))
    found = []
    if not np.array_equal(goals, again):
        found.append("sample_task draws other goals from an equal generator: draw with its generator alone")
    goal = goals[0]
    differing = next((g for g in goals if not np.array_equal(g, goal)), None)
    random, space = np.random.default_rng(0), one.action_space
    actions = random.uniform(space.low, space.high, (_STEPS, *space.shape)).astype(space.dtype)

    def disturb():
        _call(other, "set_task", form.restore(goal if differing is None else differing))
        other.reset(seed=2)
        other.step(actions[-1].copy())

    trajectory = functools.partial(_trajectory, one, form)
    alone = trajectory(goal, actions)
    if not np.array_equal(alone, trajectory(goal, actions), equal_nan=True):
        return [
            *found,
            "the same goal, seed and actions give another trajectory the second time: let reset restore everything, "
            "draw with self.np_random alone, and leave out wrappers that keep statistics, such as NormalizeReward",
        ]
    if not np.array_equal(alone, trajectory(goal, actions, disturb), equal_nan=True):
        found.append("its copies change one another: keep all that changes in the instance, as self.x set in reset")
    if differing is not None and np.array_equal(alone, trajectory(differing, actions), equal_nan=True):
        found.append(
            f"two goals made no difference in {_STEPS} random steps: unless its rewards are sparse, see whether "
            "set_task reaches the environment, and whether reset keeps the goal"
        )
    return found


def _generators():
    return map(np.random.default_rng, range(_GOALS))


def _call(env, method, argument):
    return env.get_wrapper_attr(method)(argument)


def _trajectory(env, form, goal, actions, between=lambda: None):
    """All numbers of a trajectory, one after another; `between` is called before every step.

    The environment gets copies of the goal and the actions, as in use: it may change them.
    """
    _call(env, "set_task", form.restore(goal))
    numbers = [np.array(env.reset(seed=1)[0], np.float64).ravel()]
    for action in actions:
        between()
        observation, reward, terminated, truncated, _ = env.step(action.copy())
        numbers += [np.array(observation, np.float64).ravel(), np.array([reward, terminated, truncated], np.float64)]
        if terminated or truncated:
            break
    return np.concatenate(numbers)
