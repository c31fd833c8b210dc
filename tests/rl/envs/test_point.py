"""Compares the three forms of 2D navigation with the original's numbers and with each other."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from data_generators.errors import UserError
from rl import envs
from rl.envs.vector import to_bounds
from tests.rl.envs.environment_goldens import part


def test_original_trajectory_in_every_form():
    golden = part("point")
    single = gymnasium.make("maml/PointNavigation-v0", goal=golden["goal"])
    vector = gymnasium.make_vec("maml/PointNavigation-v0", num_envs=1, goal=golden["goal"])
    tasks = envs.make_vector("point_navigation", 1, 1, 40)
    np.testing.assert_array_equal(single.reset()[0], golden["obs"][0])
    np.testing.assert_array_equal(vector.reset()[0][0], golden["obs"][0])
    np.testing.assert_array_equal(tasks.reset(golden["goal"][None], (0,))[0, 0], golden["obs"][0])
    for action, obs, reward, done in zip(
        golden["actions"], golden["obs"][1:], golden["rewards"], golden["dones"], strict=True
    ):
        from_vector = [values[0] for values in vector.step(action[None])[:3]]
        from_tasks = [values[0, 0] for values in tasks.step(action[None, None])]
        for got in single.step(action)[:3], from_vector, from_tasks:
            np.testing.assert_array_equal(got[0], obs)
            assert got[1] == reward
            assert got[2] == done


@pytest.mark.parametrize("kind", ["point", "ant", "unit", "asym"])
def test_actions_are_scaled_to_the_bounds_as_in_the_original(kind):
    golden = part("normenv")
    scaled = to_bounds(golden["actions"], *golden[f"{kind}_bounds"].astype(float))
    np.testing.assert_array_equal(scaled, golden[f"{kind}_scaled"])


@pytest.mark.parametrize("name", ["point_navigation", "ant_direction"])
def test_a_specification_comes_back_from_json(name):
    spec = gymnasium.spec(envs.find(name).gym_id)
    made = gymnasium.make(EnvSpec.from_json(spec.to_json()), disable_env_checker=True).unwrapped
    made.reset(seed=0)
    assert made._goal_range == envs.find(name).goals


@pytest.mark.parametrize("oracle", [False, True])
def test_gymnasium_finds_no_fault(oracle):
    check_env(gymnasium.make("maml/PointNavigation-v0", oracle=oracle, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("oracle", [False, True])
def test_gymnasiums_own_vectorisation_steps_as_ours(oracle):
    settings = {"goal": [0.1, 0.05], "oracle": oracle, "max_episode_steps": 7}
    vector = gymnasium.make_vec("maml/PointNavigation-v0", num_envs=3, **settings)
    assert vector.observation_space.shape == (3, 2 + 2 * oracle)
    tasks = envs.make_vector("point_navigation", 1, 3, 7, oracle=oracle)
    random = np.random.default_rng(0)
    ended, endings = np.ones(3, bool), np.zeros(2)
    for _ in range(40):
        to_goal = [1.0, 0.5] if random.random() < 0.2 else random.uniform(-2, 2, 2)
        actions = np.float32([to_goal, *random.uniform(-2, 2, (2, 2))])
        if ended.all():
            observations, _ = vector.reset()
            np.testing.assert_array_equal(observations, tasks.reset(np.array([settings["goal"]]), (0,))[0])
            ended[:] = False
        observations, rewards, terminated, truncated, _ = vector.step(actions)
        expected = [values[0] for values in tasks.step(actions[None])]
        for got, values in zip((observations, rewards, terminated), expected, strict=True):
            np.testing.assert_array_equal(got[~ended], values[~ended])
        endings += (terminated & ~ended).sum(), (truncated & ~ended).sum()
        ended |= terminated | truncated
    assert (endings > 0).all(), "trajectories must end both at the goal and at the limit for this to mean anything"


def test_vector_form_draws_a_goal_for_every_trajectory():
    env = gymnasium.make_vec("maml/PointNavigation-v0", num_envs=2, oracle=True, max_episode_steps=1)
    goals = [env.reset(seed=1)[0][:, 2:]]
    for _ in range(4):
        observations, _, _, truncated, _ = env.step(np.zeros((2, 2), np.float32))
        if not truncated.any():
            goals.append(observations[:, 2:])
    assert len(np.unique(np.concatenate(goals), axis=0)) == 6
    np.testing.assert_array_equal(goals[0], env.reset(seed=1)[0][:, 2:])


def test_single_form_draws_a_goal_for_every_trajectory_until_one_is_set():
    env = gymnasium.make("maml/PointNavigation-v0", oracle=True)
    drawn = [env.reset()[0][2:] for _ in range(5)]
    assert len(np.unique(drawn, axis=0)) == 5
    env.unwrapped.set_task([0.2, -0.3])
    assert [env.reset()[0].tolist() for _ in range(2)] == [[0, 0, 0.2, -0.3]] * 2
    with pytest.raises(UserError, match="2 numbers, not 1"):
        env.unwrapped.set_task(0.3)


def test_a_trajectory_that_reached_its_goal_stands_still():
    tasks = envs.make_vector("point_navigation", 2, 1, 10, oracle=True)
    goals = np.array([[0.05, 0.0], [0.4, 0.4]])
    np.testing.assert_array_equal(tasks.reset(goals, (0,))[:, 0], [[0, 0, 0.05, 0], [0, 0, 0.4, 0.4]])
    _, _, dones = tasks.step(np.full((2, 1, 2), [0.5, 0.05]))
    assert dones[:, 0].tolist() == [True, False]
    observations, rewards, dones = tasks.step(np.ones((2, 1, 2)))
    np.testing.assert_allclose(observations[:, 0, :2], [[0.05, 0.005], [0.15, 0.105]], atol=1e-15)
    assert rewards[0, 0] == 0 > rewards[1, 0]
    assert dones[:, 0].tolist() == [True, False]
    observations = tasks.reset(goals, (0,))
    assert not observations[..., :2].any()
    assert not tasks.step(np.zeros((2, 1, 2)))[2].any()


def test_frames_show_the_goal_and_the_point():
    env = gymnasium.make("maml/PointNavigation-v0", goal=[0.4, 0.4], render_mode="rgb_array")
    env.reset()
    before = env.render()
    assert before.shape == (320, 320, 3)
    env.step(np.ones(2, np.float32))
    after = env.render()
    assert (before != after).any()
    for frame in before, after:
        rows, columns = np.nonzero((frame == [213, 94, 0]).all(axis=-1))  # the goal is above and right
        assert rows.max() < 160 < columns.min()
