"""Tests of what a user's environment must return, and of the messages where it returns something else."""

from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from data_generators.errors import UserError
from rl import envs
from rl.envs.goals import GoalForm
from rl.sampling import sample

ID = "own/Room-v0"


class Room(gymnasium.Env):
    """A point in a room; `taken` lists the goals that set_task was given."""

    action_space = spaces.Box(-1, 1, (2,), np.float32)
    observation_space = spaces.Box(-9, 9, (2,), np.float32)
    goal = np.zeros(2)

    def __init__(self):
        self.taken = []

    def sample_task(self, random):
        return random.uniform(-1, 1, 2)

    def set_task(self, goal):
        self.taken.append(goal)

    def reset(self, *, seed=None, options=None):
        return np.float32([0.25, -0.75]), {}

    def step(self, action):
        return np.float32(action), -1.0, False, False, {}


@pytest.fixture(autouse=True, params=[None, 4], ids=["endless", "with a limit of steps"])
def _registered(request):
    """With a limit of steps, Gymnasium's own wrapper unpacks the result of `step`."""
    gymnasium.register(ID, Room, max_episode_steps=request.param)
    yield
    del gymnasium.registry[ID]


def trajectories(tasks=2, per_task=2):
    vector = envs.make_vector(ID, tasks, per_task, 3)
    goals = envs.sample_goals(ID, 0, 0, tasks)
    return sample(vector, lambda o: np.zeros((tasks, per_task, 2)), np.zeros((tasks, 2)), goals, (0,))


OBSERVATION = np.float32([0.25, -0.75])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (OBSERVATION, r"reset of own/Room-v0 gives a single ndarray, where Gymnasium's gives 2: observation, info"),
        ((OBSERVATION, {}, {}), "gives 3 values, where Gymnasium's gives 2"),
        ([OBSERVATION, {}], "gives a single list, where Gymnasium's gives 2"),
        (None, "gives a single NoneType"),
        ((OBSERVATION[:1], {}), r"gives numbers of shape \(1,\) as an observation.* of shape \(2,\)"),
        ((OBSERVATION[None], {}), r"gives numbers of shape \(1, 2\) as an observation"),
        ((0.5, {}), "gives a single number as an observation"),
        ((None, {}), "gives None as an observation"),
        (({"position": OBSERVATION}, {}), "gives a dict as an observation"),
        ((np.array([0.1, None]), {}), "gives a ndarray as an observation"),
        (([1.0, [2.0]], {}), "gives a list as an observation"),
        ((np.array([np.nan, 0]), {}), "observation is NaN or infinite in task 0"),
        ((np.array([1e300, 0]), {}), "observation is NaN or infinite in task 0"),
    ],
)
def test_what_reset_gives_is_checked(monkeypatch, result, message):
    monkeypatch.setattr(Room, "reset", lambda self, *, seed=None, options=None: result)
    with pytest.raises(UserError, match=message):
        trajectories()


def test_a_reset_without_a_seed_is_of_the_old_gym(monkeypatch):
    monkeypatch.setattr(Room, "reset", lambda self: OBSERVATION)
    with pytest.raises(UserError, match="reset of own/Room-v0 takes no seed, although Gymnasium's does"):
        trajectories()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            (OBSERVATION, -1.0, False, {}),
            "step of own/Room-v0 gives 4 values, where Gymnasium's gives 5: observation, ",
        ),
        (OBSERVATION, "gives a single ndarray, where Gymnasium's gives 5"),
        ((OBSERVATION[:1], -1.0, False, False, {}), r"gives numbers of shape \(1,\) as an observation"),
        ((OBSERVATION, None, False, False, {}), "gives None as a reward, which must be a single number"),
        ((OBSERVATION, "1", False, False, {}), "gives a str as a reward"),
        ((OBSERVATION, np.ones(2), False, False, {}), r"gives numbers of shape \(2,\) as a reward"),
        ((OBSERVATION, 1j, False, False, {}), "gives a complex as a reward"),
        ((OBSERVATION, -1.0, None, False, {}), "gives None as `terminated`"),
        ((OBSERVATION, np.inf, False, False, {}), "reward is NaN or infinite in task 0"),
        ((np.array([1e300, 0]), -1.0, False, False, {}), "observation is NaN or infinite in task 0"),
    ],
)
def test_what_step_gives_is_checked(monkeypatch, result, message):
    monkeypatch.setattr(Room, "step", lambda self, action: result)
    with pytest.raises(UserError, match=message):
        trajectories()


@pytest.mark.parametrize("reward", [-1, np.float32(-1), np.array([-1.0]), np.array(-1)])
def test_all_single_numbers_are_rewards(monkeypatch, reward):
    monkeypatch.setattr(Room, "step", lambda self, action: ([1, 2], reward, np.bool_(False), 0, {}))
    found = trajectories()
    assert (found.rewards == -1).all()
    assert found.observations[0, 0].tolist() == [[0.25, -0.75], [1, 2], [1, 2]]


def test_errors_of_the_environment_itself_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(Room, "step", lambda self, action: {}["mine"])
    with pytest.raises(KeyError, match="mine"):
        trajectories()
    monkeypatch.setattr(Room, "__init__", lambda self: int("mine" + []))
    with pytest.raises(TypeError, match="can only concatenate"):
        trajectories()


def test_a_wrapper_of_the_user_s_reaches_its_environment(monkeypatch):
    class Doubled(gymnasium.ObservationWrapper):
        def observation(self, observation):
            return 2 * observation + self.env.goal  # a wrapper in between would hide `goal`

    gymnasium.registry[ID].entry_point = lambda: Doubled(Room())
    assert trajectories().observations[0, 0, 0].tolist() == [0.5, -1.5]
    monkeypatch.setattr(Room, "step", lambda self, action: (OBSERVATION, -1.0, False, {}))
    with pytest.raises(ValueError, match="unpack"):  # raised in the user's own wrapper
        trajectories()


class Where(NamedTuple):
    """A goal of two parts."""

    floor: int
    at: np.ndarray


GOALS = {
    "int": lambda random: int(random.integers(3)),
    "bool": lambda random: bool(random.integers(2)),
    "float": lambda random: float(random.uniform()),
    "NumPy int": lambda random: random.integers(3),
    "vector": lambda random: random.uniform(size=2),
    "float32": lambda random: random.uniform(size=2).astype(np.float32),
    "image": lambda random: random.integers(0, 255, (3, 4), np.uint8),
    "scalar array": lambda random: np.array(random.uniform()),
    "dict": lambda random: {"kind": int(random.integers(5)), "goal": random.uniform(size=2), 3: {"deep": [True, 0.5]}},
    "tuple": lambda random: (int(random.integers(3)), random.uniform()),
    "namedtuple": lambda random: Where(int(random.integers(3)), random.uniform(size=(2, 1))),
    "NaN": lambda random: [float("nan"), np.array([np.nan])],
    "nothing": lambda random: {},
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("kind", GOALS)
def test_goals_come_back_to_set_task_as_they_were_drawn(monkeypatch, kind):
    drawn = []

    def sample_task(self, random):
        drawn.append(GOALS[kind](random))
        return drawn[-1]

    monkeypatch.setattr(Room, "sample_task", sample_task)
    goals = envs.sample_goals(ID, 0, 0, 2)
    expected = drawn[1:3]  # the first only tells their form
    tasks = envs.make_vector(ID, 2, 3, 5, oracle=True)
    assert goals.shape == (2, tasks.goal_dim)
    observations = tasks.reset(goals, (0,))
    np.testing.assert_array_equal(observations[:, 0, 2:], goals)  # an oracle observes the goal
    for i, env in enumerate(tasks._envs):
        (taken,) = env.unwrapped.taken
        assert_same(taken, expected[i // 3])
    tasks.reset(np.stack([goals] * 3, axis=1), (0,))  # a goal for each trajectory, as the baselines have
    assert_same(tasks._envs[-1].unwrapped.taken[1], expected[1])
    assert envs.test_goals(ID).shape == (40, tasks.goal_dim)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (None, "gives a goal with None in it; supported are a number"),
        ("left", "gives a goal with a str in it"),
        ({"goal": {1, 2}}, "gives a goal with a set in it"),
        (1j, "gives a goal with a complex in it"),
        (np.array(["left"]), "gives a goal with an array of <U4"),
        (np.array([None]), "gives a goal with an array of object"),
        (2**53 + 1, "a number that float64 cannot hold"),
        (10**400, "a number that float64 cannot hold"),
        (np.array([2**63 - 1]), "a number that float64 cannot hold"),
    ],
)
def test_goals_that_are_not_supported(monkeypatch, goal, message):
    monkeypatch.setattr(Room, "sample_task", lambda self, random: goal)
    with pytest.raises(UserError, match=message):
        trajectories()


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (1, 0.5, "gives a number of type float after a number of type int: let all goals have one form"),
        (np.zeros(2), np.zeros(3), r"gives float64 \(3,\) after float64 \(2,\)"),
        ({"a": 1}, {"b": 1}, "gives a dict of b after a dict of a"),
        ([1], [1, 2], "gives a list of 2 after a list of 1"),
    ],
)
def test_goals_of_one_environment_have_one_form(first, second, message):
    with pytest.raises(UserError, match=message):
        GoalForm.of(first).flatten(second)
