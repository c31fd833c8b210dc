"""Half-cheetah and ant with goal velocities or directions: their models, observations and rewards.

They follow the original's half_cheetah_env_rand.py, half_cheetah_env_rand_direc.py, ant_env_rand.py and
ant_env_rand_direc.py. The argument `data` of a robot's methods is a mujoco.MjData (one simulation) or a
mujoco.batch.Batch (many). Both have MuJoCo's fields under the same names; those of a batch have one more axis in front.
So the same code serves Gymnasium's single environments and whole meta-batches.
"""

import abc
import os
import warnings
from typing import ClassVar

import gymnasium.envs.mujoco
import mujoco
import numpy as np
from mujoco.batch import Batch

from rl.envs.goals import GoalRange

TORSO = 1  # the robot's first body, after the world

# MuJoCo's warnings that a simulation diverged. It then resets the robot to the pose in the model file.
_DIVERGED = [
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]


class Robot(abc.ABC):
    """A robot whose task is to run at a goal velocity, or in a goal direction.

    Args:
        task: "velocity" or "direction".
        goals: range of the goals.

    Attributes:
        model_file: name of one of the model files that Gymnasium ships.
        fields: fields of mjData that observations and rewards use, besides the state.
        stage: stage of MuJoCo's computation that must be repeated after a step, so that these fields belong to the new
            state.
        timestep: seconds per step.
        obs_dim, act_dim: sizes of an observation and an action.
    """

    model_file: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    stage: ClassVar[mujoco.mjtStage]
    timestep: ClassVar[float]
    obs_dim: ClassVar[int]
    act_dim: ClassVar[int]

    def __init__(self, task: str, goals: GoalRange):
        self.directed = task == "direction"
        self.goals = GoalRange(*goals)  # a list, if Gymnasium read its spec from JSON

    def load_model(self) -> mujoco.MjModel:
        """Loads the robot's model, with which plain mj_step and mj_forward compute all that observations need.

        The original calls mj_subtreeVel and mj_rnePostConstraint after mj_forward. MuJoCo itself calls them if a sensor
        needs their results. So the model gets one sensor for the velocity of the centre of mass and, if forces are
        observed, one for contact forces. The sensors do not affect the motion.
        """
        file = os.path.join(os.path.dirname(gymnasium.envs.mujoco.__file__), "assets", self.model_file)
        spec = mujoco.MjSpec.from_file(file)
        torso = spec.worldbody.first_body().name
        kinds, objects = mujoco.mjtSensor, mujoco.mjtObj
        spec.add_sensor(name="velocity", type=kinds.mjSENS_SUBTREELINVEL, objtype=objects.mjOBJ_BODY, objname=torso)
        if self.stage == mujoco.mjtStage.mjSTAGE_ACC:
            spec.add_sensor(name="force", type=kinds.mjSENS_FRAMELINACC, objtype=objects.mjOBJ_XBODY, objname=torso)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "compiler attribute 'settotalmass'")  # in Gymnasium's file
            model = spec.compile()
        model.opt.timestep = self.timestep
        self.adjust(model)
        # Divergence is counted and reported. Without this, MuJoCo would also write MUJOCO_LOG.TXT in the user's folder.
        mujoco.set_mju_user_warning(_ignore)
        return model

    def adjust(self, model: mujoco.MjModel) -> None:  # noqa: B027 (most robots need nothing)
        """Sets the original's values where Gymnasium's model file has different ones."""

    @abc.abstractmethod
    def initial_positions(self, model: mujoco.MjModel) -> np.ndarray:
        """The joint positions [nq] around which trajectories begin."""

    @abc.abstractmethod
    def positions(self, observation: np.ndarray) -> np.ndarray:
        """The joint positions [nq] of an observation [obs_dim]; the first is 0 if the observation does not have it."""

    @abc.abstractmethod
    def observe(self, data: mujoco.MjData | Batch) -> np.ndarray:
        """Observations [..., obs_dim], without the oracle's part."""

    @abc.abstractmethod
    def reward(self, data: mujoco.MjData | Batch, actions: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Rewards [...] for clipped actions [..., act_dim] that led to this state, with goals [..., 1]."""

    @abc.abstractmethod
    def done(self, data: mujoco.MjData | Batch) -> np.ndarray:
        """Whether the robot has fallen: bool [...]."""

    def start(self, model: mujoco.MjModel, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Initial positions [..., nq] and velocities [..., nv] from standard normal noise [..., nq + nv]."""
        positions = self.initial_positions(model) + 0.01 * noise[..., : model.nq]
        return positions, 0.1 * noise[..., model.nq :]

    def hint(self, goals: np.ndarray) -> np.ndarray:
        """What an oracle observes of goals [..., 1]: the velocity itself, or the direction as -1 or 1."""
        return np.where(goals < self.goals.middle, -1.0, 1.0) if self.directed else goals

    def forward_reward(self, data: mujoco.MjData | Batch, goals: np.ndarray) -> np.ndarray:
        """-|v - goal|, or v in the goal's direction, where v is the velocity of the whole robot's centre of mass."""
        velocity = data.subtree_linvel[..., TORSO, 0]
        if self.directed:
            return self.hint(goals)[..., 0] * velocity
        return -np.abs(velocity - goals[..., 0])


def diverged(warnings_seen: np.ndarray) -> np.ndarray | np.bool:
    """Whether simulations diverged since their reset: bool [...], from the counts [..., kinds] of MuJoCo's warnings."""
    return (warnings_seen[..., _DIVERGED] > 0).any(axis=-1)


def _ignore(message: str) -> None:
    """Ignores a warning of MuJoCo."""


class HalfCheetah(Robot):
    """Observes its joints (without the position along the track), their velocities, and its centre of mass."""

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


class Ant(Robot):
    """Observes joints, velocities, contact forces on every body, the torso's rotation, and the centre of mass."""

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
        # In the original, a trailing comma makes the contact cost a tuple of one number; here it is that number.
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
