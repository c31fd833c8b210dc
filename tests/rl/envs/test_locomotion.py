"""Compares half-cheetah and ant with trajectories and rewards of the original's environment classes."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rl import envs
from rl.envs.locomotion import Ant, HalfCheetah
from tests.rl.envs.environment_goldens import part

NAMES = [name for name, env in envs.ENVIRONMENTS.items() if "locomotion" in env.entry_point]
IDS = ["maml/HalfCheetahVelocity-v0", "maml/HalfCheetahDirection-v0", "maml/AntVelocity-v0", "maml/AntDirection-v0"]
CHEETAHS, ANTS = envs.find("half_cheetah_velocity").goals, envs.find("ant_velocity").goals


def initial(golden):
    return golden["qpos"][0], golden["qvel"][0]


@pytest.mark.parametrize("actions", ["gentle", "rough"])
@pytest.mark.parametrize(
    ("id", "original", "oracle"),
    [
        ("maml/HalfCheetahVelocity-v0", "HalfCheetahEnvRand", False),
        ("maml/HalfCheetahVelocity-v0", "HalfCheetahEnvOracle", True),
        ("maml/HalfCheetahDirection-v0", "HalfCheetahEnvDirecOracle", True),
        ("maml/AntVelocity-v0", "AntEnvRand", False),
        ("maml/AntVelocity-v0", "AntEnvOracle", True),
        ("maml/AntDirection-v0", "AntEnvDirecOracle", True),
    ],
)
def test_original_trajectories(id, original, oracle, actions):
    golden = part(f"traj/{original}/{actions}")
    env = gymnasium.make(id, goal=golden["goal"], oracle=oracle, disable_env_checker=True).unwrapped
    env.reset()
    env.set_state(*initial(golden))
    np.testing.assert_allclose(env._observation(), golden["obs"][0], rtol=0, atol=1e-9)
    for t, action in enumerate(golden["actions"]):
        obs, reward, done, _, info = env.step(action)
        np.testing.assert_allclose(obs, golden["obs"][t + 1], rtol=0, atol=1e-9)
        assert reward == pytest.approx(golden["rewards"][t], abs=1e-9)
        assert done == golden["dones"][t]
        assert info == {"diverged": False}


@pytest.mark.parametrize(
    ("robot", "original"),
    [
        (HalfCheetah("velocity", CHEETAHS), "HalfCheetahEnvRand"),
        (HalfCheetah("velocity", CHEETAHS), "HalfCheetahEnvOracle"),
        (HalfCheetah("direction", CHEETAHS), "HalfCheetahEnvRandDirec"),
        (HalfCheetah("direction", CHEETAHS), "HalfCheetahEnvDirecOracle"),
        (Ant("velocity", ANTS), "AntEnvRand"),
        (Ant("velocity", ANTS), "AntEnvOracle"),
        (Ant("direction", ANTS), "AntEnvRandDirec"),
        (Ant("direction", ANTS), "AntEnvDirecOracle"),
    ],
)
def test_original_rewards_and_ends(robot, original):
    golden = part(f"reward/{original}")
    velocities = np.zeros((40, 14, 3))
    velocities[:, 1, 0] = golden["comvel_x"]
    positions = np.zeros((40, 15))
    positions[:, 2] = golden.get("z", 0)
    state = SimpleNamespace(
        subtree_linvel=velocities, cfrc_ext=golden.get("cfrc_ext"), qpos=positions, qvel=np.zeros((40, 14))
    )
    actions = np.clip(golden["action_normalized"], -1, 1)
    np.testing.assert_allclose(robot.reward(state, actions, golden["goal"]), golden["reward"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(robot.done(state), golden["done"])


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_finds_no_fault(id):
    check_env(gymnasium.make(id, oracle=True).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("oracle", [False, True])
@pytest.mark.parametrize(("name", "id"), list(zip(NAMES, IDS, strict=True)))
def test_many_at_once_equal_single_ones_bit_for_bit(name, id, oracle):
    goals = envs.sample_goals(name, 0, 0, 3)
    tasks = envs.make_vector(name, 3, 2, 50, oracle=oracle, threads=2)
    observations = tasks.reset(goals, (5,))
    assert observations.shape == (3, 2, tasks.obs_dim)
    singles = []
    for index in range(6):
        env = gymnasium.make(id, goal=goals[index // 2], oracle=oracle, disable_env_checker=True).unwrapped
        env.reset()
        env.set_state(tasks._batch.qpos[index].copy(), tasks._batch.qvel[index].copy())
        np.testing.assert_array_equal(env._observation(), observations[index // 2, index % 2])
        singles.append(env)
    random = np.random.default_rng(1)
    for _ in range(50):
        actions = random.normal(scale=1.5, size=(3, 2, tasks.act_dim))
        results = tasks.step(actions)
        for index, env in enumerate(singles):
            at = index // 2, index % 2
            for got, expected in zip(results, env.step(actions[at])[:3], strict=True):
                np.testing.assert_array_equal(got[at], expected)
    assert not results[2].any(), "no trajectory may end, or the comparison would too"


@pytest.mark.parametrize(("name", "middle"), [("half_cheetah_velocity", 0.0), ("ant_velocity", None)])
def test_initial_states_vary_as_in_the_original(name, middle):
    tasks = envs.make_vector(name, 40, 20, 1, threads=1)
    tasks.reset(envs.sample_goals(name, 0, 0, 40), (0,))
    positions, velocities = tasks._batch.qpos, tasks._batch.qvel
    expected = middle if middle is not None else [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
    np.testing.assert_allclose(positions.mean(axis=0), np.broadcast_to(expected, positions.shape[1:]), atol=2e-3)
    np.testing.assert_allclose(positions.std(axis=0), 0.01, rtol=0.1)
    np.testing.assert_allclose(velocities.mean(axis=0), 0, atol=2e-2)
    np.testing.assert_allclose(velocities.std(axis=0), 0.1, rtol=0.1)


def test_an_ant_that_falls_or_jumps_is_done_and_stands_still():
    tasks = envs.make_vector("ant_velocity", 1, 3, 5, threads=2)
    before = tasks.reset(np.array([[1.0]]), (0,))
    tasks._batch.qpos[0, 2] = 5.0
    observations, rewards, dones = tasks.step(np.zeros((1, 3, 8)))
    assert dones.tolist() == [[True, False, False]]
    assert rewards[0, 0] != 0
    assert (observations != before).any(axis=-1).all()
    later, rewards, dones = tasks.step(np.zeros((1, 3, 8)))
    np.testing.assert_array_equal(later[0, 0], observations[0, 0])
    assert (later != observations).any(axis=-1).tolist() == [[False, True, True]]
    assert rewards[0, 0] == 0
    assert dones.tolist() == [[True, False, False]]
    assert tasks.diverged == 0


def test_observation_sizes():
    sizes = [(envs.make_vector(name, 1, 1, 1, oracle).obs_dim) for name in NAMES for oracle in (False, True)]
    assert sizes == [20, 21, 20, 21, 125, 126, 125, 126]
