"""Everything that the project knows about each environment. Imports neither MuJoCo nor TensorFlow."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from data_generators.errors import UserError
from rl.envs import own
from rl.envs.goals import GoalRange
from rl.envs.noise import Stream, generator
from rl.envs.vector import TaskVector

_LONGEST_NAME = 200  # the name is also that of a folder


class EvaluationProtocol(NamedTuple):
    """How the original adapts policies to the 40 published goals.

    trajectories: number of trajectories per goal and update.
    updates: number of updates.
    step_sizes: step size alpha of the first update of the policies "pretrained" and "random".
    later: factor by which alpha is multiplied in the updates after the first.
    """

    trajectories: int
    updates: int
    step_sizes: Mapping[str, float]
    later: float = 0.5

    def alphas(self, policy: str, updates: int, trained: float) -> list[float]:
        """The step size of each update of the policy "maml", "pretrained" or "random".

        MAML starts with `trained`, the step size of its training.
        """
        first = trained if policy == "maml" else self.step_sizes[policy]
        return [first * (self.later if update else 1.0) for update in range(updates)]


class OwnGoals(NamedTuple):
    """The goals of a user's environment, in place of a GoalRange."""

    env: str

    def draw(self, random: np.random.Generator, n: int) -> np.ndarray:
        """Draws goals [n, goal_dim], float64; UserError as for `own.draw_goals`, or if there is no such environment."""
        return own.draw_goals(_known(self.env), random, n)

    def draw_test(self, n: int) -> np.ndarray:
        """Draws the goals [n, goal_dim] of the evaluation with a fixed seed; errors as for `draw`."""
        return self.draw(generator((), Stream.TEST_GOALS), n)

    def __str__(self):
        return "what sample_task of the environment draws"


# The protocol of half-cheetah direction and ant velocity, and of environments that the original has no script for.
# For the random policy, the original's script for half-cheetah direction has both 1.0 and 0.5.
_USUAL_PROTOCOL = EvaluationProtocol(trajectories=20, updates=3, step_sizes={"pretrained": 0.2, "random": 1.0})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Everything that the project knows about one environment. The defaults are those of a user's own environment.

    name: value of the flag --env.
    title: name in tables.
    gym_id: id for gymnasium.make.
    entry_point, arguments: "module:Class" of the single Gymnasium environment, and its arguments besides `goals`.
    make: function (num_tasks, num_trajectories, horizon, oracle, threads) -> TaskVector that steps all trajectories
        together; by default, single environments are stepped one after another.
    horizon: largest number of steps of a trajectory.
    goals: range that goals are drawn from.
    meaning: what a goal means, in words; shown with its range.
    paper: settings of the paper and the original's scripts, besides those that all environments have in common.
    baselines: settings of each baseline, besides those that all baselines have in common.
    authors: settings of the MAML checkpoint that the authors published, where they differ from those of their scripts.
    protocol: EvaluationProtocol.
    published: name of the environment in published.json; None if there are no published returns.
    random_nonlinearity: nonlinearity of the random policy; None: that of the other policies.
    draws_trajectories: whether the evaluation draws a picture of trajectories.
    view: arguments with which films make the single environment.
    film_every: number of steps between two frames of a film.
    """

    name: str
    title: str
    gym_id: str
    entry_point: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    make: Callable[[int, int, int, bool, int | None], TaskVector] | None = None
    horizon: int = 200
    goals: GoalRange | OwnGoals
    meaning: str = ""
    paper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    authors: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    protocol: EvaluationProtocol = _USUAL_PROTOCOL
    published: str | None = None
    random_nonlinearity: str | None = None
    draws_trajectories: bool = False
    view: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    film_every: int = 1

    def register(self) -> None:
        """Registers the single environment with Gymnasium."""
        arguments = {"goals": self.goals, **self.arguments}
        gymnasium.register(self.gym_id, self.entry_point, max_episode_steps=self.horizon, kwargs=arguments)

    def vector(
        self, num_tasks: int, num_trajectories: int, horizon: int, oracle: bool, threads: int | None
    ) -> TaskVector:
        """Makes the TaskVector of `rl.envs.make_vector`."""
        if self.make is None:  # in Python, without threads
            limit = None if isinstance(self.goals, OwnGoals) else horizon
            return own.OwnTasks(_known(self.gym_id), num_tasks, num_trajectories, horizon, oracle, limit)
        return self.make(num_tasks, num_trajectories, horizon, oracle, threads)

    @property
    def goal(self) -> str:
        """What a goal is, and how goals are drawn, in words."""
        return "; ".join(filter(None, (self.meaning, str(self.goals))))


def find(env: str) -> Environment:
    """Finds one of ENVIRONMENTS or, by any other name, a user's own environment (see `rl.envs.own`).

    Whether a user's environment exists is not checked before it is made.

    Raises:
        UserError: the name is Gymnasium's id of one of ENVIRONMENTS, which would be run without its settings.
    """
    ours = {environment.gym_id: name for name, environment in ENVIRONMENTS.items()}
    id = env.rpartition(":")[2]
    if id in ours:
        raise UserError(f"{env} is this project's own environment: give --env={ours[id]}, which has its settings.")
    return ENVIRONMENTS[env] if env in ENVIRONMENTS else _own(env)


def _points(num_tasks, num_trajectories, horizon, oracle, threads):
    from rl.envs.point import PointNavigationTasks

    return PointNavigationTasks(num_tasks, num_trajectories, horizon, oracle)  # without threads


POINT_NAVIGATION = Environment(
    name="point_navigation",
    title="2D navigation",
    gym_id="maml/PointNavigation-v0",
    entry_point="rl.envs.point:PointNavigation",
    make=_points,
    horizon=100,
    goals=GoalRange(-0.5, 0.5, 2, test_seed=1),
    meaning="the position to reach",
    paper={"iterations": 100, "meta_batch_size": 20, "fast_lr": 0.5},
    # The iterations of the published checkpoints are not known; these numbers are ours.
    baselines={
        "pretrained": {"iterations": 1000, "optimizer": "adam", "meta_batch_size": 20, "fast_batch_size": 20},
        "oracle": {"iterations": 500},
    },
    protocol=EvaluationProtocol(trajectories=40, updates=4, step_sizes={"pretrained": 0.5, "random": 0.5}),
    published="2d_navigation",
    random_nonlinearity="tanh",  # as in the original
    draws_trajectories=True,
)


def _running(robot: str, task: str, goals: GoalRange, **facts) -> Environment:
    """The Environment of a robot of `rl.envs.locomotion` that runs at a goal velocity, or in a goal direction."""

    def make(num_tasks, num_trajectories, horizon, oracle, threads):
        from rl.envs import locomotion
        from rl.envs.locomotion_envs import LocomotionTasks

        of_task = getattr(locomotion, robot)(task, goals)
        return LocomotionTasks(of_task, num_tasks, num_trajectories, horizon, oracle, threads)

    return Environment(
        gym_id=f"maml/{robot}{task.title()}-v0",
        entry_point=f"rl.envs.locomotion_envs:{robot}Env",
        arguments={"task": task},
        make=make,
        goals=goals,
        view={"width": 320, "height": 320, "camera_name": "track"},
        film_every=2,
        **facts,
    )


HALF_CHEETAH_VELOCITY = _running(
    "HalfCheetah",
    "velocity",
    GoalRange(0.0, 2.0, 1, test_seed=1),
    meaning="the forward velocity to move at",
    name="half_cheetah_velocity",
    title="half-cheetah, goal velocity",
    baselines={"pretrained": {"iterations": 475}, "oracle": {"iterations": 975}},  # as published
    authors={"fast_batch_size": 10, "iterations": 475},
    protocol=EvaluationProtocol(trajectories=20, updates=3, step_sizes={"pretrained": 0.02, "random": 0.1}),
    published="half_cheetah_goal_velocity",
)

HALF_CHEETAH_DIRECTION = _running(
    "HalfCheetah",
    "direction",
    GoalRange(0.0, 2.0, 1, test_seed=1),
    meaning="the direction to move in: backward below 1, forward from there on",
    name="half_cheetah_direction",
    title="half-cheetah, goal direction",
    baselines={"pretrained": {"iterations": 1000}, "oracle": {"iterations": 1000}},  # ours, as above
    authors={"meta_step_size": 0.02, "iterations": 100},
    published="half_cheetah_goal_direction",
)

ANT_VELOCITY = _running(
    "Ant",
    "velocity",
    GoalRange(0.0, 3.0, 1, test_seed=1),
    meaning="the forward velocity to move at",
    name="ant_velocity",
    title="ant, goal velocity",
    baselines={"pretrained": {"iterations": 575}, "oracle": {"iterations": 550}},
    authors={"iterations": 375},
    published="ant_goal_velocity",
)

ANT_DIRECTION = _running(
    "Ant",
    "direction",
    GoalRange(0.0, 3.0, 1, test_seed=2),
    meaning="the direction to move in: backward below 1.5, forward from there on",
    name="ant_direction",
    title="ant, goal direction",
    paper={"fast_batch_size": 40},
    baselines={"pretrained": {"iterations": 2000}, "oracle": {"iterations": 1975}},
    authors={"iterations": 575},
    protocol=EvaluationProtocol(trajectories=40, updates=3, step_sizes={"pretrained": 0.2, "random": 1.0}, later=0.01),
    published="ant_goal_direction",
)

ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        POINT_NAVIGATION,
        HALF_CHEETAH_VELOCITY,
        HALF_CHEETAH_DIRECTION,
        ANT_VELOCITY,
        ANT_DIRECTION,
    )
}


def _own(env: str) -> Environment:
    """A user's environment, which is evaluated by the usual protocol."""
    return Environment(name=env, title=env, gym_id=env, entry_point="", goals=OwnGoals(env))


def _known(name: str) -> str:
    """Returns the name of a user's environment; UserError if it is too long, or if Gymnasium cannot know it."""
    if len(name) > _LONGEST_NAME:
        raise UserError(f"The name of an environment has at most {_LONGEST_NAME} letters, not {len(name)}.")
    if name not in gymnasium.registry and ":" not in name:
        raise UserError(
            f"There is no environment {name!r}: choose {', '.join(ENVIRONMENTS)}, or give the Gymnasium id of your own "
            "as module:Id."
        )
    return name
