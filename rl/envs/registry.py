"""The environments by name: for the meta-learner (`make_vector`), and registered with Gymnasium.

Imports neither MuJoCo nor TensorFlow.
"""

from typing import NamedTuple

import gymnasium
import numpy as np

from data_generators.errors import UserError
from rl.envs.goals import GOAL_RANGES, NUM_TEST_GOALS, published_goals, training_goals
from rl.envs.noise import Stream, generator
from rl.envs.vector import TaskVector

NAMES = tuple(GOAL_RANGES)

_LONGEST_NAME = 200  # it is a folder's name too
_MOST_WORKERS = 1024


class _Registration(NamedTuple):
    id: str  # for Gymnasium
    horizon: int
    single: str
    vector: str | None = None
    task: str | None = None


_POINT = "rl.envs.point:PointNavigation"
_POINTS = "rl.envs.point:PointNavigationVectorEnv"
_HALF_CHEETAH = "rl.envs.locomotion_envs:HalfCheetahEnv"
_ANT = "rl.envs.locomotion_envs:AntEnv"

_REGISTERED = {
    "point_navigation": _Registration("maml/PointNavigation-v0", 100, _POINT, _POINTS),
    "half_cheetah_velocity": _Registration("maml/HalfCheetahVelocity-v0", 200, _HALF_CHEETAH, task="velocity"),
    "half_cheetah_direction": _Registration("maml/HalfCheetahDirection-v0", 200, _HALF_CHEETAH, task="direction"),
    "ant_velocity": _Registration("maml/AntVelocity-v0", 200, _ANT, task="velocity"),
    "ant_direction": _Registration("maml/AntDirection-v0", 200, _ANT, task="direction"),
}

for _entry in _REGISTERED.values():
    gymnasium.register(
        id=_entry.id,
        entry_point=_entry.single,
        vector_entry_point=_entry.vector,
        max_episode_steps=_entry.horizon,
        kwargs={"task": _entry.task} if _entry.task else {},
    )


def make_vector(
    name: str, num_tasks: int, paths_per_task: int, horizon: int, oracle: bool = False, workers: int | None = None
) -> TaskVector:
    """Makes num_tasks x paths_per_task environments that are stepped together.

    Args:
        name: one of NAMES, or the Gymnasium id of an environment with goals of your own (see `rl.envs.own`).
        num_tasks: tasks in the meta-batch.
        paths_per_task: paths of each task.
        horizon: steps that a path has at most.
        oracle: append the goal, or the direction, to the observations.
        workers: threads that simulate; None takes all cores. The numbers do not depend on it. 2D navigation is a
            few array operations, and an environment of your own runs in Python: neither uses them.

    Raises:
        UserError: the name is unknown, a number is not positive, or your environment lacks what is needed.
    """
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise UserError(f"The number of workers must be at least 1 and at most {_MOST_WORKERS}, not {workers}.")
    if name == "point_navigation":
        from rl.envs.point import PointNavigationTasks

        return PointNavigationTasks(num_tasks, paths_per_task, horizon, oracle)
    if name in NAMES:
        from rl.envs.locomotion import Ant, HalfCheetah
        from rl.envs.locomotion_envs import LocomotionTasks

        kind, task = name.rsplit("_", 1)
        robot = {"half_cheetah": HalfCheetah, "ant": Ant}[kind](task)
        return LocomotionTasks(robot, num_tasks, paths_per_task, horizon, oracle, workers)
    from rl.envs.own import OwnTasks

    return OwnTasks(_known(name), num_tasks, paths_per_task, horizon, oracle)


def make_single(name: str, **settings) -> gymnasium.Env:
    """Makes one of NAMES as a single environment: gymnasium.make with its id, and the same settings.

    Raises:
        UserError: the name is not one of NAMES.
    """
    if name not in NAMES:
        raise UserError(f"{name} is none of {', '.join(NAMES)}.")
    return gymnasium.make(_REGISTERED[name].id, **settings)


def sample_goals(name: str, seed: int, iteration: int, n: int) -> np.ndarray:
    """The training goals [n, goal_dim] of a meta-iteration; they depend on the arguments alone.

    Raises:
        UserError: the name is unknown.
    """
    if name in NAMES:
        return training_goals(GOAL_RANGES[name], seed, iteration, n)
    return _own_goals(name, generator((seed, iteration), Stream.GOALS), n)


def test_goals(name: str) -> np.ndarray:
    """The 40 published test goals [40, goal_dim]; for an environment of your own, 40 goals of a fixed seed.

    Raises:
        UserError: the name is unknown.
    """
    if name in NAMES:
        return published_goals(GOAL_RANGES[name])
    return _own_goals(name, generator((), Stream.TEST_GOALS), NUM_TEST_GOALS)


def _own_goals(name, random, n):
    from rl.envs.own import draw_goals

    return draw_goals(_known(name), random, n)


def _known(name: str) -> str:
    """The name of a user's environment, if Gymnasium may know it."""
    if len(name) > _LONGEST_NAME:
        raise UserError(f"The name of an environment has at most {_LONGEST_NAME} letters, not {len(name)}.")
    if name not in gymnasium.registry and ":" not in name:
        raise UserError(
            f"There is no environment {name!r}: choose {', '.join(NAMES)}, or give the Gymnasium id of your own "
            "as module:Id."
        )
    return name
