"""Tests of a user's own Gymnasium environment as the tasks of a meta-batch."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from data_generators.errors import UserError
from rl import envs
from rl.sampling import sample

ID = "own/Lift-v0"


class Lift(gymnasium.Env):
    """A lift that actions move up and down; the goal is a height from 0 to 3. It begins at 0 to 0.1, ends above 2.9."""

    action_space = spaces.Box(-0.5, 1.5, (1,), np.float32)
    observation_space = spaces.Box(-np.inf, np.inf, (1, 1), np.float32)

    def set_task(self, goal):
        self.goal = goal

    def sample_task(self, random):
        return random.uniform(0, 3, 1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.height = self.np_random.uniform(0, 0.1)
        return np.float32([[self.height]]), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.height += action[0]
        reward = np.nan if self.height > 5 else -abs(self.height - self.goal[0])
        return np.float32([[self.height]]), reward, self.height > 2.9, False, {}


@pytest.fixture(autouse=True, scope="module")
def _registered():
    gymnasium.register(ID, Lift, max_episode_steps=4)
    yield
    del gymnasium.registry[ID]


def test_actions_goals_and_ends():
    tasks = envs.make_vector(ID, 2, 3, 10, oracle=True)
    assert (tasks.obs_dim, tasks.act_dim, tasks.goal_dim) == (2, 1, 1)
    observations = tasks.reset(np.array([[1.0], [2.0]]), (0,))
    assert len(np.unique(observations[..., 0])) == 6, "every trajectory begins elsewhere"
    np.testing.assert_array_equal(observations, tasks.reset(np.array([[1.0], [2.0]]), (0,)))
    np.testing.assert_array_equal(observations[..., 1], [[1] * 3, [2] * 3])
    actions = np.zeros((2, 3, 1))
    actions[1, 2] = 7.0  # clipped to 1.5
    moved, rewards, dones = tasks.step(actions)
    np.testing.assert_allclose(moved[..., 0] - observations[..., 0], [[0.5] * 3, [0.5, 0.5, 1.5]], atol=1e-6)
    np.testing.assert_allclose(rewards, -np.abs(moved[..., 0] - moved[..., 1]), atol=1e-6)
    assert not dones.any()
    _, _, dones = tasks.step(actions)
    assert dones.tolist() == [[False] * 3, [False, False, True]]
    _, rewards, dones = tasks.step(actions)
    assert rewards[1, 2] == 0
    _, _, dones = tasks.step(actions)
    assert dones.all(), "the environment's own limit of steps"
    tasks.close()


def test_goals():
    goals = envs.sample_goals(ID, 0, 1, 5)
    assert goals.shape == (5, 1)
    np.testing.assert_array_equal(goals, envs.sample_goals(ID, 0, 1, 5))
    assert not np.isin(goals, envs.sample_goals(ID, 0, 2, 5)).any()
    assert envs.test_goals(ID).shape == (40, 1)
    np.testing.assert_array_equal(envs.test_goals(ID), envs.test_goals(ID))
    assert not np.isin(envs.test_goals(ID), envs.sample_goals(ID, 0, 0, 40)).any(), "tested on what was trained on"


def test_goals_are_drawn_by_an_environment_that_returns_the_same_object_each_time(monkeypatch):
    expected = envs.sample_goals(ID, 0, 1, 5)

    def sample_task(self, random):
        reused[:] = random.uniform(0, 3, 1)
        return reused

    reused = np.zeros(1)
    monkeypatch.setattr(Lift, "sample_task", sample_task)
    np.testing.assert_array_equal(envs.sample_goals(ID, 0, 1, 5), expected)


class Basement(gymnasium.Wrapper):
    """Draws goals below the ground, for an environment with or without its own goals."""

    def sample_task(self, random):
        return random.uniform(-1, 0, 1)

    def set_task(self, goal):
        self.env.unwrapped.goal = goal


@pytest.mark.parametrize("has_goals", [True, False])
def test_goals_of_a_wrapper_count(has_goals):
    class Floors(Lift):
        if not has_goals:
            sample_task = set_task = None

    gymnasium.register(
        "Basement-v0", lambda: gymnasium.wrappers.RescaleAction(Basement(Floors()), -0.5, 1.5), max_episode_steps=4
    )
    try:
        goals = envs.sample_goals("Basement-v0", 0, 1, 5)
        assert (goals < 0).all()
        tasks = envs.make_vector("Basement-v0", 2, 1, 4)
        tasks.reset(goals[:2], (0,))
        moved, rewards, _ = tasks.step(np.zeros((2, 1, 1)))
        np.testing.assert_allclose(rewards[:, 0], goals[:2, 0] - moved[:, 0, 0], rtol=1e-6)
    finally:
        del gymnasium.registry["Basement-v0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_task": lambda self: 1.0}, r"sample_task of \S+ does not take a generator alone: too many positional"),
        ({"set_task": lambda self: None}, "set_task of .* does not take a goal alone: too many positional arguments; "),
        ({"set_task": lambda self, x, y: None}, "set_task of .* does not take a goal alone: missing .* 'y'; supported"),
    ],
)
def test_methods_with_other_arguments_are_named(monkeypatch, changes, message):
    for name, method in changes.items():
        monkeypatch.setattr(Lift, name, method)
    with pytest.raises(UserError, match=message):
        envs.sample_goals(ID, 0, 0, 1)


def test_a_reward_of_nan_names_task_and_step(monkeypatch):
    def step(self, action):
        observation, reward, _, truncated, info = original(self, action)
        return observation, reward, False, truncated, info

    original = Lift.step
    monkeypatch.setattr(Lift, "step", step)
    tasks = envs.make_vector(ID, 2, 3, 10)

    def act(observations):
        return np.float32([0.0, 1.0])[:, None, None] + np.zeros((2, 3, 1), np.float32)

    with pytest.raises(UserError, match=r"reward is NaN or infinite in task 1 \(trajectory 0\) at step 3"):
        sample(tasks, act, np.full((2, 1), -20.0), np.ones((2, 1)), (0,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v1", r"actions of CartPole-v1 are a Discrete space; supported are a bounded Box"),
        ("Pendulum-v1", r"Pendulum-v1 has no method set_task; supported are .* sample_task\(generator\)"),
        ("nowhere_to_be_found:Env-v0", "cannot make the environment 'nowhere_to_be_found:Env-v0'"),
    ],
)
def test_what_is_missing_is_named(name, message):
    for ask in lambda: envs.make_vector(name, 1, 1, 5), lambda: envs.sample_goals(name, 0, 0, 1):
        with pytest.raises(UserError, match=message):
            ask()


def test_unbounded_actions_are_refused(monkeypatch):
    monkeypatch.setattr(Lift, "action_space", spaces.Box(-np.inf, np.inf, (1,), np.float32))
    with pytest.raises(UserError, match="actions of own/Lift-v0 are not bounded"):
        envs.make_vector(ID, 1, 1, 5)


def test_observations_must_be_a_box(monkeypatch):
    monkeypatch.setattr(Lift, "observation_space", spaces.Dict({"height": Lift.observation_space}))
    with pytest.raises(UserError, match="observations of own/Lift-v0 are a Dict space"):
        envs.make_vector(ID, 1, 1, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_space": spaces.Box(-1, 1, (0,))}, r"actions of \S+ are arrays of shape \(0,\), without a number"),
        ({"observation_space": spaces.Box(-9, 9, (2, 0))}, r"observations of \S+ are arrays of shape \(2, 0\)"),
    ],
)
def test_actions_and_observations_without_a_number_are_refused(changes, message):
    base = {
        "action_space": spaces.Box(-1, 1, (2,)),
        "observation_space": spaces.Box(-9, 9, (2,)),
        "sample_task": lambda self, generator: 1.0,
        "set_task": lambda self, goal: None,
    }
    gymnasium.register("Numberless-v0", type("Numberless", (gymnasium.Env,), base | changes))
    try:
        with pytest.raises(UserError, match=message):
            envs.sample_goals("Numberless-v0", 0, 0, 1)
    finally:
        del gymnasium.registry["Numberless-v0"]
