"""Ant with goal velocities or directions (the original's ant_env_rand.py and ant_env_rand_direc.py)."""

import mujoco
import numpy as np
from mujoco.batch import Batch

from rl.envs.locomotion import TORSO, Robot
from rl.envs.locomotion_env import LocomotionEnv


class Ant(Robot):
    """Observes joints, velocities, contact forces on every body, the torso's rotation, and the centre of mass."""

    kind = "ant"
    model_file = "ant.xml"
    fields = ("subtree_com", "subtree_linvel", "cfrc_ext", "xmat")
    stage = mujoco.mjtStage.mjSTAGE_ACC  # forces need the whole of mj_forward
    timestep = 0.02
    obs_dim = 125
    act_dim = 8

    def adjust(self, model: mujoco.MjModel) -> None:
        model.geom_solimp[:] = [0.8, 0.8, 0.01, 0.5, 2]

    def initial_positions(self, model: mujoco.MjModel) -> np.ndarray:
        return model.numeric("init_qpos").data

    def positions(self, observation: np.ndarray) -> np.ndarray:
        return observation[:15].copy()

    def observe(self, data: mujoco.MjData | Batch) -> np.ndarray:
        parts = [data.qpos, data.qvel, _forces(data), data.xmat[..., TORSO, :], data.subtree_com[..., TORSO, :]]
        return np.concatenate(parts, axis=-1)

    def reward(self, data: mujoco.MjData | Batch, actions: np.ndarray, goals: np.ndarray) -> np.ndarray:
        # In the original a trailing comma makes the contact cost a tuple; its sum is the number that is used here.
        contact_cost = 0.0005 * np.square(_forces(data)).sum(axis=-1)
        control_cost = 0.005 * np.square(actions).sum(axis=-1)
        towards_velocity = 0.0 if self.directed else 1.0
        return towards_velocity + self.forward_reward(data, goals) - control_cost - contact_cost + 0.05

    def done(self, data: mujoco.MjData | Batch) -> np.ndarray:
        height = data.qpos[..., 2]
        finite = np.isfinite(data.qpos).all(axis=-1) & np.isfinite(data.qvel).all(axis=-1)
        return ~(finite & (height >= 0.2) & (height <= 1.0))


def _forces(data: mujoco.MjData | Batch) -> np.ndarray:
    """Contact forces and torques on all bodies, the world included, clipped to [-1, 1]: [..., 14 * 6]."""
    forces = data.cfrc_ext
    return np.clip(forces, -1.0, 1.0).reshape(*forces.shape[:-2], -1)


class AntEnv(LocomotionEnv):
    """Ant as a Gymnasium environment; task is "velocity" or "direction", see `LocomotionEnv`."""

    metadata = LocomotionEnv.metadata | {"render_fps": 50}

    def __init__(self, task: str = "velocity", **kwargs):
        super().__init__(Ant(task), **kwargs)
