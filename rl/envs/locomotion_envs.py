"""Half-cheetah and ant: as single Gymnasium environments, and for all trajectories of a meta-batch at once."""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco import MujocoEnv
from mujoco.batch import Batch, SimulationError

from data_generators.errors import UserError
from maml_tf.runs.process import available_cores
from rl.envs.goals import GoalEnv, GoalRange, action_of
from rl.envs.locomotion import TORSO, Ant, HalfCheetah, Robot, diverged
from rl.envs.noise import Stream, normal
from rl.envs.vector import TaskVector


class LocomotionEnv(GoalEnv, MujocoEnv):
    """A robot with a goal, as a Gymnasium environment.

    If a simulation diverges, its trajectory ends: the reward is 0, the observation is the one before the divergence,
    and info["diverged"] is True.

    Args:
        robot: the Robot, which defines the task.
        goal: goal of all trajectories; None draws a new one at every reset.
        oracle: whether to append the goal, or the direction, to the observation.
        kwargs: arguments of Gymnasium's MujocoEnv: render_mode, width, height, camera_id, ...
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]}  # noqa: RUF012 (Gymnasium's form)

    _last_observation: np.ndarray

    def __init__(self, robot: Robot, goal: np.ndarray | float | None = None, oracle: bool = False, **kwargs: Any):
        self.robot = robot
        self.oracle = oracle
        GoalEnv.__init__(self, robot.goals, goal)
        space = spaces.Box(-np.inf, np.inf, (robot.obs_dim + oracle,), np.float64)
        MujocoEnv.__init__(self, robot.model_file, frame_skip=1, observation_space=space, **kwargs)

    def step(  # type: ignore[override]  # Gymnasium's type says float64, its environments give float
        self, action: np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Simulates one timestep of the robot, with the action clipped to [-1, 1]."""
        action = np.clip(action_of(self, action), -1.0, 1.0)
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)  # computes velocities and forces of the new state
        observation = self._observation()
        reward = float(self.robot.reward(self.data, action, self.goal))
        done = bool(self.robot.done(self.data))
        lost = bool(diverged(np.array([warning.number for warning in self.data.warning])))
        if lost or not np.isfinite(observation).all():
            observation, reward, done, lost = self._last_observation.copy(), 0.0, True, True
        self._last_observation = observation.copy()
        if self.render_mode == "human":
            self.render()
        return observation, reward, done, False, {"diverged": lost}

    def reset_model(self) -> np.ndarray:
        """Draws positions, then velocities, then the goal unless it is fixed."""
        noise = self.np_random.standard_normal(self.model.nq + self.model.nv)
        self.set_state(*self.robot.start(self.model, noise))
        self.begin_goal(self.np_random)
        self._last_observation = self._observation()
        return self._last_observation.copy()

    def place(self, observation: np.ndarray) -> None:
        """Puts the robot into the pose of an observation, to render a trajectory that was sampled elsewhere."""
        positions = self.robot.positions(np.asarray(observation, np.float64))
        self.set_state(positions, np.zeros(self.model.nv))
        # The position along the track follows from the centre of mass, the last three numbers of an observation.
        positions[0] += observation[self.robot.obs_dim - 3] - self.data.subtree_com[TORSO, 0]
        self.set_state(positions, np.zeros(self.model.nv))

    def render(self) -> Any:
        """Renders a frame in the way that render_mode names.

        Raises:
            UserError: the machine has no OpenGL that MuJoCo can draw with.
        """
        try:
            return super().render()
        except Exception as error:  # every backend fails in its own way
            raise UserError(
                "MuJoCo cannot draw on this machine: set the environment variable MUJOCO_GL to egl (a GPU, or Mesa) or "
                f"to osmesa (in software), and install that library ({error})."
            ) from error

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self.robot.load_model()
        # MujocoEnv sets the size of the frames only on a model that it loads itself.
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)

    def _observation(self) -> np.ndarray:
        observation = self.robot.observe(self.data)
        return np.concatenate([observation, self.robot.hint(self.goal)]) if self.oracle else observation


class HalfCheetahEnv(LocomotionEnv):
    """Half-cheetah as a Gymnasium environment; for task and goals see `Robot`, for the rest `LocomotionEnv`."""

    metadata = LocomotionEnv.metadata | {"render_fps": 100}

    def __init__(self, task: str, goals: GoalRange, **kwargs: Any):
        super().__init__(HalfCheetah(task, goals), **kwargs)


class AntEnv(LocomotionEnv):
    """Ant as a Gymnasium environment; for task and goals see `Robot`, for the rest `LocomotionEnv`."""

    metadata = LocomotionEnv.metadata | {"render_fps": 50}

    def __init__(self, task: str, goals: GoalRange, **kwargs: Any):
        super().__init__(Ant(task, goals), **kwargs)


class LocomotionTasks(TaskVector):
    """Simulations of one robot, spread over threads; see `TaskVector`.

    mujoco.batch steps the simulations in C++ without Python's lock. Each is stepped exactly as it would be alone, so
    the results do not depend on the number of threads.

    Args:
        robot: the Robot, which defines the task.
        threads: number of threads; None: one per core that the process may use.
    """

    def __init__(
        self,
        robot: Robot,
        num_tasks: int,
        num_trajectories: int,
        horizon: int,
        oracle: bool = False,
        threads: int | None = None,
    ):
        sizes = {"obs_dim": robot.obs_dim, "act_dim": robot.act_dim, "goal_dim": 1}
        super().__init__(num_tasks, num_trajectories, horizon, **sizes, oracle=oracle)
        threads = available_cores() if threads is None else threads
        self._robot = robot
        self._model = robot.load_model()
        # A persistent batch reuses the stages that it computed at the end of the previous step. This made half-cheetahs
        # 13 % faster; for ants, the larger memory cost as much time as it saved.
        persistent = robot.stage == mujoco.mjtStage.mjSTAGE_VEL
        self._batch = Batch(self._model, num_tasks * num_trajectories, threads, persistent=persistent)
        for field in robot.fields:
            self._batch.bind(field)

    def _start(self, seed: Sequence[int]) -> np.ndarray:
        model = self._model
        sizes = self.num_tasks, (self.num_trajectories, model.nq + model.nv)
        noise = normal(seed, Stream.RESETS, *sizes, first_task=self.first_task)
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
        except SimulationError as error:  # MuJoCo gave up on these; the others have made their step
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
