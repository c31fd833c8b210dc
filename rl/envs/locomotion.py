"""What half-cheetah and ant have in common: the simulation, and the form of their tasks.

A robot's methods take `data`: a mujoco.MjData, one simulation, or a mujoco.batch.Batch, many of them. Both have
MuJoCo's fields under the same names, the batch with one more axis in front, so that physics, observations and rewards
are written once for Gymnasium's single environments and for whole meta-batches.
"""

import abc
import os
import warnings
from typing import ClassVar

import gymnasium.envs.mujoco
import mujoco
import numpy as np
from mujoco.batch import Batch

from rl.envs.goals import GOAL_RANGES, GoalRange

TORSO = 1  # the robot's first body, after the world

# MuJoCo's warnings that a simulation diverged: it then puts the robot back to where the model file has it.
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
    """A robot that is to run at a goal velocity, or in a goal direction.

    Args:
        task: "velocity" or "direction".

    Attributes:
        name: of the environment, as in GOAL_RANGES.
        goal_range: the goals that training draws from.
        model_file: among the model files that Gymnasium ships.
        fields: fields of mjData that observations and rewards use, besides the state.
        stage: what must be computed anew after a step so that these fields belong to the state reached.
        timestep: seconds per step.
        obs_dim, act_dim: sizes of an observation and an action.
        middle: goals below it mean backward in the direction task.
    """

    name: str
    goal_range: GoalRange
    kind: ClassVar[str]
    model_file: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    stage: ClassVar[mujoco.mjtStage]
    timestep: ClassVar[float]
    obs_dim: ClassVar[int]
    act_dim: ClassVar[int]

    def __init__(self, task: str):
        self.directed = task == "direction"
        self.name = f"{self.kind}_{task}"
        self.goal_range = GOAL_RANGES[self.name]
        self.middle = (self.goal_range.low + self.goal_range.high) / 2

    def load_model(self) -> mujoco.MjModel:
        """The robot's model, with which a plain mj_step and mj_forward compute all that observations need.

        The original calls mj_subtreeVel and mj_rnePostConstraint after mj_forward. MuJoCo itself calls them wherever
        a sensor needs their results, so the model gets two sensors for the centre of mass' velocity and for contact
        forces. They do not touch the motion.
        """
        file = os.path.join(os.path.dirname(gymnasium.envs.mujoco.__file__), "assets", self.model_file)
        spec = mujoco.MjSpec.from_file(file)
        torso = spec.worldbody.first_body().name
        kinds, objects = mujoco.mjtSensor, mujoco.mjtObj
        spec.add_sensor(name="velocity", type=kinds.mjSENS_SUBTREELINVEL, objtype=objects.mjOBJ_BODY, objname=torso)
        if self.stage == mujoco.mjtStage.mjSTAGE_ACC:
            spec.add_sensor(name="force", type=kinds.mjSENS_FRAMELINACC, objtype=objects.mjOBJ_XBODY, objname=torso)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "compiler attribute 'settotalmass'")  # the file is Gymnasium's
            model = spec.compile()
        model.opt.timestep = self.timestep
        self.adjust(model)
        # What diverges is counted and told; without this MuJoCo would also write MUJOCO_LOG.TXT into the user's folder.
        mujoco.set_mju_user_warning(_ignore)
        return model

    def adjust(self, model: mujoco.MjModel) -> None:  # noqa: B027 (most robots need nothing)
        """Sets what the original's model file has otherwise than Gymnasium's."""

    @abc.abstractmethod
    def initial_positions(self, model: mujoco.MjModel) -> np.ndarray:
        """The joint positions [nq] around which paths begin."""

    @abc.abstractmethod
    def positions(self, observation: np.ndarray) -> np.ndarray:
        """The joint positions [nq] that an observation [obs_dim] tells of; the first may be unknown, and is then 0."""

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
        return np.where(goals < self.middle, -1.0, 1.0) if self.directed else goals

    def forward_reward(self, data: mujoco.MjData | Batch, goals: np.ndarray) -> np.ndarray:
        """-|v - goal|, or v in the goal's direction, where v is the velocity of the whole robot's centre of mass."""
        velocity = data.subtree_linvel[..., TORSO, 0]
        if self.directed:
            return self.hint(goals)[..., 0] * velocity
        return -np.abs(velocity - goals[..., 0])


def diverged(warnings_seen: np.ndarray) -> np.ndarray:
    """Whether simulations diverged since their reset: bool [...] from the numbers [..., kinds] of MuJoCo's warnings."""
    return (warnings_seen[..., _DIVERGED] > 0).any(axis=-1)


def _ignore(message: str) -> None:
    """Takes MuJoCo's warnings."""
