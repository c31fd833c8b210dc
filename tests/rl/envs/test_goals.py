"""Tests of the goals: the 40 published ones, and those drawn for training."""

import numpy as np
import pytest

from data_generators.errors import UserError
from rl import envs
from tests.rl.envs.environment_goldens import part


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("point_navigation", "point_seed1"),
        ("half_cheetah_velocity", "cheetah_vel_seed1"),
        ("half_cheetah_direction", "cheetah_direc_seed1"),
        ("ant_velocity", "ant_vel_seed1"),
        ("ant_direction", "ant_direc_seed2"),
    ],
)
def test_published_goals_are_the_originals(name, golden):
    goals = envs.test_goals(name)
    assert len(goals) == 40
    np.testing.assert_array_equal(goals, part("goals")[golden].reshape(40, -1))


@pytest.mark.parametrize(
    ("name", "low", "high", "size"),
    [
        ("point_navigation", -0.5, 0.5, 2),
        ("half_cheetah_velocity", 0, 2, 1),
        ("half_cheetah_direction", 0, 2, 1),
        ("ant_velocity", 0, 3, 1),
        ("ant_direction", 0, 3, 1),
    ],
)
def test_training_goals_fill_their_range(name, low, high, size):
    goals = envs.sample_goals(name, 0, 0, 4000)
    assert goals.shape == (4000, size)
    assert low <= goals.min() < low + 0.01
    assert high - 0.01 < goals.max() < high
    np.testing.assert_allclose(goals.mean(axis=0), (low + high) / 2, atol=0.1)


def test_training_goals_depend_on_seed_and_iteration_only():
    goals = envs.sample_goals("ant_velocity", 3, 7, 20)
    np.testing.assert_array_equal(goals, envs.sample_goals("ant_velocity", 3, 7, 20))
    np.testing.assert_array_equal(goals[:5], envs.sample_goals("ant_velocity", 3, 7, 5))
    others = [envs.sample_goals("ant_velocity", 3, 8, 20), envs.sample_goals("ant_velocity", 4, 7, 20)]
    assert not any(np.isin(other, goals).any() for other in others)


def test_original_draws_training_goals_alike():
    golden = part("point")["sample_goals_seed5"]
    np.testing.assert_array_equal(envs.find("point_navigation").goals.draw(np.random.RandomState(5), 4), golden)


@pytest.mark.parametrize(
    "ask",
    [
        lambda name: envs.make_vector(name, 2, 2, 10),
        lambda name: envs.sample_goals(name, 0, 0, 2),
        envs.test_goals,
    ],
)
def test_an_unknown_name_is_told_the_known_ones(ask):
    with pytest.raises(UserError, match=r"no environment 'ant_speed'.*point_navigation.*ant_direction.*module:Id"):
        ask("ant_speed")
