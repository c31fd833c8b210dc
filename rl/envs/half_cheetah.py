"""Half-cheetah with goal velocities or directions (the original's half_cheetah_env_rand.py and ..._rand_direc.py)."""

import mujoco
import numpy as np
from mujoco.batch import Batch

from rl.envs.locomotion import TORSO, Robot
from rl.envs.locomotion_env import LocomotionEnv


class HalfCheetah(Robot):
    """Observes its joints (without the position along the track), their velocities, and its centre of mass."""

    kind = "half_cheetah"
    model_file = "half_cheetah.xml"
    fields = ("subtree_com", "subtree_linvel")
    stage = mujoco.mjtStage.mjSTAGE_VEL  # no forces are observed
    timestep = 0.01
    obs_dim = 20
    act_dim = 6

    def initial_positions(self, model: mujoco.MjModel) -> np.ndarray:
        return model.qpos0

    def positions(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], observation[:8]])

    def observe(self, data: mujoco.MjData | Batch) -> np.ndarray:
        return np.concatenate([data.qpos[..., 1:], data.qvel, data.subtree_com[..., TORSO, :]], axis=-1)

    def reward(self, data: mujoco.MjData | Batch, actions: np.ndarray, goals: np.ndarray) -> np.ndarray:
        return self.forward_reward(data, goals) - 0.05 * np.square(actions).sum(axis=-1)

    def done(self, data: mujoco.MjData | Batch) -> np.ndarray:
        return np.zeros(data.qpos.shape[:-1], bool)


class HalfCheetahEnv(LocomotionEnv):
    """Half-cheetah as a Gymnasium environment; task is "velocity" or "direction", see `LocomotionEnv`."""

    metadata = LocomotionEnv.metadata | {"render_fps": 100}

    def __init__(self, task: str = "velocity", **kwargs):
        super().__init__(HalfCheetah(task), **kwargs)
