"""Tests of the sampler: exact trajectories, padding, and noise that depends only on seed, task and trajectory."""

import numpy as np
import pytest

from data_generators.errors import UserError
from rl import envs
from rl.envs.point import move
from rl.sampling import sample


def follow(tasks):
    """Returns a policy that treats each observation by itself, so their number in a call changes nothing."""
    return lambda observations: np.tanh(3 * observations[..., : tasks.act_dim])


def sampled(name, num_tasks, num_trajectories, horizon=6, seed=(0, 1), **settings):
    tasks = envs.make_vector(name, num_tasks, num_trajectories, horizon, **settings)
    goals = envs.sample_goals(name, 0, 0, num_tasks)
    log_std = np.linspace(-1, 0.5, num_tasks)[:, None] + np.zeros(tasks.act_dim)
    return sample(tasks, follow(tasks), log_std, goals, seed)


def assert_same(left, right):
    for name, values in left._asdict().items():
        np.testing.assert_array_equal(values, getattr(right, name), err_msg=name)


def test_trajectories_are_what_the_environment_and_the_policy_did():
    goals = envs.test_goals("point_navigation")[:5]
    tasks = envs.make_vector("point_navigation", 5, 4, 30)
    log_std = np.linspace(-0.5, 0.5, 5)[:, None] + np.array([0.0, 0.2])
    found = sample(tasks, follow(tasks), log_std, goals, (3,))
    assert found.observations.shape == found.actions.shape == found.means.shape == (5, 4, 30, 2)
    assert found.rewards.shape == found.mask.shape == (5, 4, 30)
    assert {values.dtype for values in found} == {np.dtype(np.float32), np.dtype(np.float64)}
    np.testing.assert_array_equal(found.log_stds, np.float32(log_std))
    assert not found.observations[:, :, 0].any()
    assert (np.abs(found.actions) > 1).any(), "actions are stored as they were drawn, not clipped"
    np.testing.assert_allclose(found.means, np.tanh(3 * found.observations) * found.mask[..., None], atol=1e-6)
    positions, rewards, _ = move(np.float64(found.observations), np.float64(found.actions), goals[:, None, None])
    taken = found.mask == 1
    np.testing.assert_allclose(found.rewards[taken], rewards[taken], atol=1e-6)
    following = taken[:, :, 1:]
    np.testing.assert_allclose(found.observations[:, :, 1:][following], positions[:, :, :-1][following], atol=1e-6)


def test_noise_is_standard_normal_and_never_repeats():
    found = sampled("point_navigation", 20, 20, horizon=100)
    noise = (found.actions - found.means) / np.exp(found.log_stds)[:, None, None]
    noise = noise[found.mask == 1]
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs((noise**4).mean() - 3) < 0.15
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.02
    assert len(np.unique(noise.round(5), axis=0)) == len(noise)


@pytest.mark.parametrize("name", ["half_cheetah_velocity", "ant_direction"])
def test_numbers_do_not_depend_on_the_number_of_threads(name):
    first = sampled(name, 2, 3, threads=1)
    for threads in 2, 5:
        assert_same(first, sampled(name, 2, 3, threads=threads))


@pytest.mark.parametrize("name", ["point_navigation", "half_cheetah_direction", "ant_velocity"])
def test_a_trajectory_depends_on_the_seed_and_its_place_alone(name):
    tasks = envs.make_vector(name, 3, 4, 6)
    goals = envs.sample_goals(name, 0, 0, 3)
    log_std = np.zeros((3, tasks.act_dim))
    found = sample(tasks, follow(tasks), log_std, goals, (0, 1))
    assert_same(found, sample(tasks, follow(tasks), log_std, goals, (0, 1)))  # the same object, used again
    fewer = envs.make_vector(name, 2, 3, 6)
    part = sample(fewer, follow(fewer), log_std[:2], goals[:2], (0, 1))
    for values, cut in zip(found[:5], part[:5], strict=True):
        np.testing.assert_array_equal(values[:2, :3], cut)
    other = sample(tasks, follow(tasks), log_std, goals, (0, 2))
    assert not np.isin(other.actions, found.actions).any()


def test_trajectories_end_at_the_goal_and_are_padded_with_zeros():
    goals = np.array([[0.05, 0.0], [0.3, 0.0], [0.5, 0.5]])
    tasks = envs.make_vector("point_navigation", 3, 2, 10)
    found = sample(tasks, lambda observations: np.full((3, 2, 2), [0.5, 0]), np.full((3, 2), -20.0), goals, (0,))
    np.testing.assert_array_equal(found.mask.sum(axis=-1), [[1, 1], [6, 6], [10, 10]])
    assert (np.diff(found.mask, axis=-1) <= 0).all()
    for values in found.observations, found.actions, found.means, found.rewards[..., None]:
        assert not values[found.mask == 0].any()
    assert found.rewards[found.mask == 1].all()


def test_sampling_stops_when_all_trajectories_are_done():
    calls = []
    tasks = envs.make_vector("point_navigation", 2, 3, 100)

    def act(observations):
        assert observations.dtype == np.float32
        calls.append(observations.shape)
        return np.full((2, 3, 2), [0.5, 0])

    sample(tasks, act, np.full((2, 2), -20.0), np.array([[0.05, 0.0], [0.2, 0.0]]), (0,))
    assert calls == [(2, 3, 2)] * 4


def test_every_trajectory_may_have_a_goal_of_its_own():
    goals = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 3, 2))
    tasks = envs.make_vector("point_navigation", 2, 3, 4)
    found = sample(tasks, lambda observations: np.zeros((2, 3, 2)), np.full((2, 2), -20.0), goals, (0,))
    np.testing.assert_allclose(found.rewards[:, :, 0], -np.linalg.norm(goals, axis=-1), atol=1e-7)


def test_a_diverged_simulation_leaves_the_other_trajectories_as_they_are():
    expected = sampled("half_cheetah_velocity", 2, 3)
    tasks = envs.make_vector("half_cheetah_velocity", 2, 3, 6)
    steps = iter(range(6))

    def act(observations):
        if next(steps) == 3:
            tasks._batch.qpos[4, 1] = np.nan
        return follow(tasks)(observations)

    log_std = np.linspace(-1, 0.5, 2)[:, None] + np.zeros(6)
    found = sample(tasks, act, log_std, envs.sample_goals("half_cheetah_velocity", 0, 0, 2), (0, 1))
    assert tasks.diverged == 1
    np.testing.assert_array_equal(found.mask.sum(axis=-1), [[6, 6, 6], [6, 4, 6]])
    sound = np.ones((2, 3), bool)
    sound[1, 1] = False
    for values, same in zip(found[:5], expected[:5], strict=True):
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values[sound], same[sound])


def test_actions_of_nan_are_an_error_that_says_where():
    tasks = envs.make_vector("point_navigation", 3, 2, 5)
    steps = iter(range(5))

    def act(observations):
        means = np.zeros((3, 2, 2))
        means[2] = np.nan if next(steps) == 1 else 0
        return means

    with pytest.raises(UserError, match=r"policy's action is NaN or infinite in task 2 \(trajectory 0\) at step 1"):
        sample(tasks, act, np.zeros((3, 2)), np.full((3, 2), 0.5), (0,))
