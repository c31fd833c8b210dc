"""Makes environments by name for the meta-learner (`make_vector`), and registers them with Gymnasium.

    gymnasium.make("maml/AntVelocity-v0", goal=1.5)                 # after `import rl.envs`
    gymnasium.make_vec("maml/PointNavigation-v0", num_envs=8)

Importing this package registers the environments, but loads neither MuJoCo nor the code of an environment. Nothing in
the package imports TensorFlow.
"""

import numpy as np

from data_generators.errors import UserError
from rl.envs.noise import Stream, generator
from rl.envs.registry import ENVIRONMENTS, Environment, EvaluationProtocol, find
from rl.envs.vector import TaskVector

__all__ = [
    "ENVIRONMENTS",
    "Environment",
    "EvaluationProtocol",
    "find",
    "make_vector",
    "sample_goals",
    "test_goals",
]

NUM_TEST_GOALS = 40
_MOST_THREADS = 1024

for _env in ENVIRONMENTS.values():
    _env.register()


def make_vector(
    env: str, num_tasks: int, num_trajectories: int, horizon: int, oracle: bool = False, threads: int | None = None
) -> TaskVector:
    """Makes num_tasks x num_trajectories environments that are stepped together.

    Args:
        env: one of ENVIRONMENTS, or the Gymnasium id of your own environment with goals (see `rl.envs.own`).
        num_tasks: number of tasks in the meta-batch.
        num_trajectories: number of trajectories of each task.
        horizon: largest number of steps of a trajectory.
        oracle: whether to append the goal, or the direction, to the observations.
        threads: number of threads that simulate; None: one per core. The results do not depend on it. Only MuJoCo uses
            threads: 2D navigation is a few array operations, and your own environment runs in Python.

    Raises:
        UserError: the name is unknown, a number is not positive or too large, or your environment lacks something.
    """
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise UserError(f"The number of threads must be at least 1 and at most {_MOST_THREADS}, not {threads}.")
    return find(env).vector(num_tasks, num_trajectories, horizon, oracle, threads)


def sample_goals(env: str, seed: int, iteration: int, n: int) -> np.ndarray:
    """The training goals [n, goal_dim] of a meta-iteration, float64: a pure function of the arguments.

    Raises:
        UserError: the name is unknown, or the goals of your environment are not supported.
    """
    return find(env).goals.draw(generator((seed, iteration), Stream.GOALS), n)


def test_goals(env: str) -> np.ndarray:
    """The 40 published test goals [40, goal_dim], float64; for your own environment, 40 goals drawn with a fixed seed.

    Raises:
        UserError: the name is unknown, or the goals of your environment are not supported.
    """
    return find(env).goals.draw_test(NUM_TEST_GOALS)
