"""Tests of simulations that diverge, rendering without OpenGL, and impossible sizes."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from mujoco.batch import SimulationError

from data_generators.errors import UserError
from rl import envs

ROOT = Path(__file__).parents[3]


def step_all(tasks, spoil=lambda: None):
    """Takes two steps with 2 x 3 robots and calls `spoil` before the second; returns the results of both."""
    tasks.reset(np.full((2, 1), 1.0), (0,))
    actions = np.random.default_rng(0).normal(size=(2, 2, 3, tasks.act_dim))
    first = tasks.step(actions[0])
    spoil()
    return first, tasks.step(actions[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
@pytest.mark.parametrize("name", ["half_cheetah_velocity", "ant_velocity"])
def test_a_simulation_that_diverges_ends_its_trajectory_and_no_other(name, value, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    tasks = envs.make_vector(name, 2, 3, 5, threads=2)
    _, expected = step_all(tasks)

    def spoil():
        tasks._batch.qvel[4, 0] = value

    (before, _, _), (observations, rewards, dones) = step_all(tasks, spoil)
    assert tasks.diverged == 1
    assert dones.tolist() == [[False] * 3, [False, True, False]]
    assert rewards[1, 1] == 0
    np.testing.assert_array_equal(observations[1, 1], before[1, 1])
    others = ~dones
    np.testing.assert_array_equal(observations[others], expected[0][others])
    np.testing.assert_array_equal(rewards[others], expected[1][others])

    tasks.step(np.zeros((2, 3, tasks.act_dim)))
    assert tasks.diverged == 1, "a trajectory diverges once"
    _, again = step_all(tasks)
    assert tasks.diverged == 1, "the next trajectories are sound"
    for got, wanted in zip(again, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)  # nothing of the spoilt simulation is left
    assert not list(tmp_path.iterdir()), "MuJoCo wrote a log"
    assert capfd.readouterr() == ("", "")


def test_a_simulation_that_mujoco_gives_up_counts_as_diverged(monkeypatch):
    tasks = envs.make_vector("half_cheetah_velocity", 2, 3, 5, threads=1)
    step = tasks._batch.step

    def fail(*arguments, **settings):
        step(*arguments, **settings)
        raise SimulationError(np.array([0]), "out of memory", 6)

    (before, _, _), (observations, _, dones) = step_all(tasks, lambda: monkeypatch.setattr(tasks._batch, "step", fail))
    assert dones.tolist() == [[True, False, False], [False] * 3]
    np.testing.assert_array_equal(observations[0, 0], before[0, 0])
    assert tasks.diverged == 1


def test_a_single_environment_that_diverges_ends_its_trajectory():
    env = gymnasium.make("maml/AntVelocity-v0", disable_env_checker=True).unwrapped
    before, _ = env.reset(seed=0)
    env.data.qvel[0] = np.nan
    observation, reward, terminated, _, info = env.step(np.zeros(8, np.float32))
    np.testing.assert_array_equal(observation, before)
    assert reward == 0
    assert terminated
    assert info == {"diverged": True}
    assert np.isfinite(env.reset(seed=0)[0]).all()
    assert not env.step(np.zeros(8, np.float32))[4]["diverged"]


def test_frames_or_a_sentence_why_not():
    program = """
import gymnasium, rl.envs
from data_generators.errors import UserError
env = gymnasium.make("maml/HalfCheetahVelocity-v0", render_mode="rgb_array", width=64, height=48)
env.reset(seed=0)
try:
    frame = env.render()
    assert frame.shape == (48, 64, 3), frame.shape
    assert frame.std() > 1
except UserError as error:
    assert "MUJOCO_GL" in str(error)
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"MUJOCO_GL": "egl"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


def test_no_opengl_is_said_in_a_sentence(monkeypatch):
    def fail(self):
        raise mujoco.FatalError("an OpenGL platform library has not been loaded")

    monkeypatch.setattr(gymnasium.envs.mujoco.MujocoEnv, "render", fail)
    env = gymnasium.make("maml/AntDirection-v0", render_mode="rgb_array")
    env.reset()
    with pytest.raises(UserError, match=r"MUJOCO_GL to egl.*or to osmesa.*OpenGL platform"):
        env.render()


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(UserError, match="must be at least 1, not"):
        envs.make_vector("point_navigation", *sizes)


@pytest.mark.parametrize("name", ["ant_velocity", "point_navigation"])
@pytest.mark.parametrize("threads", [0, -3, 10**9])
def test_threads_have_bounds(name, threads):
    with pytest.raises(UserError, match=f"threads must be at least 1 and at most 1024, not {threads}"):
        envs.make_vector(name, 1, 1, 1, threads=threads)


@pytest.mark.parametrize("sizes", [(10**6, 10**6, 10**6), (10**30, 1, 1), (1001, 1000, 1000)])
@pytest.mark.parametrize("name", ["half_cheetah_velocity", "point_navigation"])
def test_batches_that_no_memory_holds_are_refused(name, sizes):
    with pytest.raises(UserError, match="are more than 1000000000 steps in one batch: use smaller sizes"):
        envs.make_vector(name, *sizes)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2, 4, 2), (2,)])
def test_goals_must_fit(shape):
    tasks = envs.make_vector("point_navigation", 2, 3, 10)
    with pytest.raises(UserError, match=r"shape \(2, 2\), or \(2, 3, 2\)"):
        tasks.reset(np.zeros(shape), (0,))
