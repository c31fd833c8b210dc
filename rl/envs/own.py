"""A user's own Gymnasium environment, as many copies as a meta-batch has paths."""

from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium import spaces

from data_generators.errors import UserError
from rl.envs.noise import Stream, generator
from rl.envs.vector import TaskVector, to_bounds


class OwnTasks(TaskVector):
    """Any Gymnasium environment with goals, stepped one path after the other; see `TaskVector`.

    The environment needs a bounded Box of actions, a Box of observations, and two methods: `sample_task(generator)`
    draws a goal with a numpy.random.Generator, and `set_task(goal)` takes one, before the reset that begins a path.

    Args:
        name: an id that gymnasium.make knows; "module:Id" imports the module first.

    Raises:
        UserError: the environment is unknown or lacks something of the above.
    """

    def __init__(self, name: str, num_tasks: int, paths_per_task: int, horizon: int, oracle: bool = False):
        first = make(name)
        actions, observations = first.action_space, first.observation_space
        super().__init__(
            num_tasks,
            paths_per_task,
            horizon,
            obs_dim=int(np.prod(observations.shape)),
            act_dim=int(np.prod(actions.shape)),
            goal_dim=np.size(first.unwrapped.sample_task(np.random.default_rng(0))),
            oracle=oracle,
        )
        self._low, self._high = np.float64(actions.low.ravel()), np.float64(actions.high.ravel())
        self._envs = [first, *(make(name) for _ in range(num_tasks * paths_per_task - 1))]

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _start(self, seed: Sequence[int]) -> np.ndarray:
        observations = np.empty_like(self._observations)
        for i, env in enumerate(self._envs):
            task, path = divmod(i, self.paths_per_task)
            env.unwrapped.set_task(self._goals[i].copy())
            path_seed = int(generator((*seed, path), Stream.RESETS, task).integers(2**31))
            observations[i] = env.reset(seed=path_seed)[0].ravel()
        return observations

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        actions = to_bounds(actions, self._low, self._high)
        observations, rewards, dones = self._observations.copy(), np.zeros(len(actions)), np.zeros(len(actions), bool)
        for i in np.flatnonzero(self._alive):
            space = self._envs[i].action_space
            action = actions[i].reshape(space.shape).astype(space.dtype)
            observation, rewards[i], terminated, truncated, _ = self._envs[i].step(action)
            observations[i] = observation.ravel()
            dones[i] = terminated or truncated
        return observations, rewards, dones


def make(name: str) -> gymnasium.Env:
    """Makes a user's environment.

    Raises:
        UserError: it is unknown, or cannot serve; the message says what is missing.
    """
    try:
        env = gymnasium.make(name, disable_env_checker=True)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    supported = (
        "supported are a bounded Box of actions, a Box of observations, set_task(goal) and sample_task(generator)"
    )
    for space, what in ((env.action_space, "actions"), (env.observation_space, "observations")):
        if not isinstance(space, spaces.Box):
            raise UserError(f"The {what} of {name} are a {type(space).__name__} space; {supported}.")
    if not env.action_space.is_bounded():
        raise UserError(f"The actions of {name} are not bounded; {supported}.")
    for method in ("set_task", "sample_task"):
        if not callable(getattr(env.unwrapped, method, None)):
            raise UserError(f"{name} has no method {method}; {supported}.")
    return env
