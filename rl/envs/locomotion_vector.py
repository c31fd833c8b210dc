"""Half-cheetah and ant, all paths of a meta-batch at once."""

import os
from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from rl.envs.locomotion import Robot, diverged
from rl.envs.noise import Stream, normal
from rl.envs.vector import TaskVector


class LocomotionTasks(TaskVector):
    """Simulations of one robot, spread over threads; see `TaskVector`.

    mujoco.batch steps them in C++ without Python's lock, each exactly as it would be stepped alone, so that results
    do not depend on the number of threads.

    Args:
        robot: what moves, and its task.
        workers: threads; None takes all the cores that the process may use.
    """

    def __init__(
        self,
        robot: Robot,
        num_tasks: int,
        paths_per_task: int,
        horizon: int,
        oracle: bool = False,
        workers: int | None = None,
    ):
        sizes = {"obs_dim": robot.obs_dim, "act_dim": robot.act_dim, "goal_dim": 1}
        super().__init__(num_tasks, paths_per_task, horizon, **sizes, oracle=oracle)
        workers = _available_cores() if workers is None else workers
        self._robot = robot
        self._model = robot.load_model()
        # A persistent batch continues from the stages that it computed at the end of the step before. That made
        # half-cheetahs 13 % faster; for ants the larger memory cost as much as it saved.
        persistent = robot.stage == mujoco.mjtStage.mjSTAGE_VEL
        self._batch = Batch(self._model, num_tasks * paths_per_task, workers, persistent=persistent)
        for field in robot.fields:
            self._batch.bind(field)

    def _start(self, seed: Sequence[int]) -> np.ndarray:
        model = self._model
        noise = normal(seed, Stream.RESETS, self.num_tasks, (self.paths_per_task, model.nq + model.nv))
        self._batch.reset(stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        self._batch.qpos, self._batch.qvel = self._robot.start(model, noise.reshape(-1, model.nq + model.nv))
        self._batch.forward()
        return self._robot.observe(self._batch)

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        actions = np.clip(actions, -1.0, 1.0)
        self._batch.ctrl = actions
        lost = np.zeros(len(actions), bool)
        try:
            self._batch.step(self._alive, stage=int(self._robot.stage))
        except SimulationError as error:  # MuJoCo gave these up; the others have made their step
            lost[error.ids] = True
        observations = self._robot.observe(self._batch)
        rewards = self._robot.reward(self._batch, actions, self._goals)
        lost |= diverged(self._batch.warning[..., 1]) | ~np.isfinite(observations).all(axis=-1)
        lost &= self._alive
        self.diverged += int(lost.sum())
        observations[lost] = self._observations[lost]
        rewards[lost] = 0.0
        return observations, rewards, self._robot.done(self._batch) | lost

    def _hint(self, goals: np.ndarray) -> np.ndarray:
        return self._robot.hint(goals)


def _available_cores() -> int:
    """How many cores this process may run on, which `taskset` or a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
