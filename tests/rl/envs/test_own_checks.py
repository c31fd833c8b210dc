"""A user's environment is tried before it is used: what its trajectories must not depend on is told."""

import logging

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from data_generators.errors import UserError
from rl import envs
from rl.envs import own, registry

GOALS = registry.GoalRange(-1, 1, 1, test_seed=0)


class Walk(gymnasium.Env):
    """A point that actions and noise move; the reward is its nearness to the goal."""

    action_space = spaces.Box(-1, 1, (2,), np.float32)
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    goal = 0.0

    def sample_task(self, random):
        return random.uniform(-1, 1)

    def set_task(self, goal):
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2)
        return self.place.copy(), {}

    def step(self, action):
        self.place = self.place + action + self.np_random.normal(size=2)
        return self.place.copy(), -float(np.abs(self.place - self.goal).sum()), False, False, {}


class OnePlace(Walk):
    place = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        OnePlace.shared = observation
        return observation, info

    def step(self, action):
        OnePlace.shared = OnePlace.shared + action
        return OnePlace.shared.copy(), -float(np.abs(OnePlace.shared - self.goal).sum()), False, False, {}


class OneGoal(Walk):
    @classmethod
    def set_task(cls, goal):
        cls.goal = goal


class OwnNoise(Walk):
    noise = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        self.place = self.noise.normal(size=2)
        super().reset(seed=seed)
        return self.place.copy(), {}

    def step(self, action):
        self.place = self.place + self.noise.normal(size=2)
        return self.place.copy(), 0.0, False, False, {}


class Redraws(Walk):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.goal = self.np_random.uniform(-1, 1)
        return observation, info


class OwnGoals(Walk):
    def sample_task(self, random):
        return np.random.uniform(-1, 1)  # noqa: NPY002


class Broken(Walk):
    def step(self, action):
        raise ArithmeticError


@pytest.fixture
def made(caplog):
    """A function that registers an entry point, makes its tasks, and returns what is logged."""

    def call(entry_point, limit=None, horizon=50):
        gymnasium.register("tried/Walk-v0", entry_point, max_episode_steps=limit)
        try:
            with caplog.at_level(logging.WARNING):
                envs.make_vector("tried/Walk-v0", 2, 2, horizon).close()
        finally:
            del gymnasium.registry["tried/Walk-v0"]
        return [entry.getMessage() for entry in caplog.records if entry.name.startswith("rl.")]

    return call


class InPlace(Walk):
    """Changes the arrays that it is given, which are its own."""

    def sample_task(self, random):
        return random.uniform(-1, 1, 2)

    def step(self, action):
        action *= 0.5
        self.goal += 0.01
        return super().step(action)


def test_what_is_right_is_silent(made):
    assert made(Walk) == []
    assert made(InPlace) == []
    assert made(lambda: Walk(), 50) == []


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        (OnePlace, "its copies change one another"),
        (OneGoal, "its copies change one another"),
        (OwnNoise, "the same goal, seed and actions give another trajectory the second time"),
        (lambda: gymnasium.wrappers.NormalizeReward(Walk()), "leave out wrappers that keep statistics"),
        (lambda: gymnasium.wrappers.NormalizeObservation(Walk()), "leave out wrappers that keep statistics"),
        (Redraws, "two goals made no difference in 10 random steps"),
        (OwnGoals, "sample_task draws other goals from an equal generator"),
    ],
    ids=["state", "goal", "noise", "rewards", "observations", "reset", "goals"],
)
def test_what_trajectories_must_not_depend_on_is_told_once(made, entry_point, message):
    (text,) = made(entry_point)
    assert text.startswith("tried/Walk-v0: ")
    assert message in text
    assert made(entry_point) == [text], "told twice"


def test_one_object_for_all_copies_is_refused(made):
    one = Walk()
    with pytest.raises(UserError, match="All copies of tried/Walk-v0 are one object"):
        made(lambda: one)


def test_errors_of_the_environment_come_where_it_is_used(made):
    assert made(Broken) == []


def test_a_limit_below_the_horizon_is_told(made):
    (text,) = made(Walk, limit=5)
    assert text == "tried/Walk-v0: trajectories end after 5 steps, the limit of its registration, and not at 50"


def test_environments_of_the_project_have_the_horizon_that_was_asked_for():
    """Gymnasium would end their trajectories at the limit with which they are registered."""
    environment = registry.Environment(
        name="tried", title="", gym_id="tried/Limited-v0", entry_point="", goals=GOALS, horizon=3
    )
    gymnasium.register("tried/Limited-v0", Walk, max_episode_steps=environment.horizon)
    try:
        vector = environment.vector(1, 1, 10, False, None)
    finally:
        del gymnasium.registry["tried/Limited-v0"]
    vector.reset(np.zeros((1, 1)), (0,))
    assert not any(vector.step(np.zeros((1, 1, 2)))[2].any() for _ in range(9))


@pytest.mark.parametrize("name", ["maml/PointNavigation-v0", "rl.envs:maml/AntDirection-v0"])
def test_the_project_s_own_environments_have_their_settings(name):
    expected = {"P": "point_navigation", "A": "ant_direction"}[name.partition("maml/")[2][0]]
    with pytest.raises(UserError, match=f"give --env={expected}"):
        envs.find(name)


def test_whole_actions_are_rounded():
    class Counting(Walk):
        action_space = spaces.Box(0, 4, (2,), np.int64)

        def step(self, action):
            seen.append(action.tolist())
            return super().step(action)

    seen = []
    gymnasium.register("tried/Counting-v0", Counting)
    try:
        vector = envs.make_vector("tried/Counting-v0", 1, 1, 5)
    finally:
        del gymnasium.registry["tried/Counting-v0"]
    vector.reset(np.zeros((1, 1)), (0,))
    seen.clear()
    vector.step(np.array([[[0.4, -0.3]]]))  # 2.8 and 1.4 of 0 to 4
    assert seen == [[3, 1]]


@pytest.mark.parametrize("lacking", ["observation_space", "action_space"])
def test_a_missing_space_is_named(lacking):
    env = type("Bare", (gymnasium.Env,), {k: v for k, v in vars(Walk).items() if k != lacking and k[:2] != "__"})
    gymnasium.register("tried/Bare-v0", env)
    try:
        with pytest.raises(UserError, match=f"has no {lacking}"):
            own.make("tried/Bare-v0")
    finally:
        del gymnasium.registry["tried/Bare-v0"]


def test_an_entry_point_that_needs_arguments_is_one_sentence():
    class Sized(Walk):
        def __init__(self, size):
            self.size = size

    gymnasium.register("tried/Sized-v0", Sized)
    gymnasium.register("tried/Sized-v1", Sized, kwargs={"size": 3})
    try:
        with pytest.raises(UserError, match=r"'size'; give its arguments as gymnasium.register\(..., kwargs="):
            own.make("tried/Sized-v0")
        assert own.make("tried/Sized-v1").unwrapped.size == 3
    finally:
        del gymnasium.registry["tried/Sized-v0"], gymnasium.registry["tried/Sized-v1"]


@pytest.mark.parametrize("name", ["maml/HalfCheetahVelocity-v0", "maml/PointNavigation-v0"])
@pytest.mark.parametrize("action", [1.0, np.ones(1), np.ones((1, 6))])
def test_an_action_of_another_shape_is_not_spread_over_the_joints(name, action):
    env = gymnasium.make(name, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(UserError, match="is an array"):
        env.step(action)
    vector = envs.make_vector("point_navigation", 2, 3, 5)
    vector.reset(np.zeros((2, 2)), (0,))
    with pytest.raises(UserError, match=r"Actions must be .*\[2, 3, 2\], not \[2\]"):
        vector.step(np.zeros(2))


def test_a_goal_that_moves_begins_where_it_was_set():
    env = gymnasium.make("maml/PointNavigation-v0", goal=[0.4, 0.4]).unwrapped
    for _ in range(2):
        env.reset(seed=0)
        np.testing.assert_array_equal(env.goal, [0.4, 0.4])
        env.goal += 0.1
