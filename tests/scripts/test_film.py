"""Films of trajectories: which pictures they show, and the files."""

import itertools
import os
import subprocess
import sys

import gymnasium
import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

from data_generators.errors import UserError
from rl import envs
from scripts.figures import film


def line(steps):
    return np.linspace([0, 0], [0.5, 0.1], steps)


def test_a_trajectory_that_has_ended_stays_beside_the_other():
    pictures = list(film.frames("point_navigation", np.array([0.3, -0.2]), [line(6), line(3)], every=2))
    assert len(pictures) == 4  # steps 0, 2, 4 and the last
    assert {picture.shape for pair in pictures for picture in pair} == {(320, 320, 3)}
    same = [[np.array_equal(one[i], other[i]) for one, other in itertools.pairwise(pictures)] for i in (0, 1)]
    assert same == [[False, False, False], [False, True, True]]


def test_a_film_holds_its_pictures_and_a_second_of_the_last(tmp_path):
    pictures = [np.full((40, 60, 3), value, np.uint8) for value in (0, 60, 120)]
    path = film.write(iter(pictures), tmp_path / "new" / "film.gif", fps=5)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as image:
        durations = []
        for frame in range(image.n_frames):  # equal neighbours are one, shown for longer
            image.seek(frame)
            durations.append(image.info["duration"])
        assert durations[:2] == [200, 200]
        assert sum(durations) == 200 * (3 + 5)
        assert image.info["loop"] == 0
    shown = [int(frame[..., 0].mean()) for frame in imageio.mimread(path)]
    np.testing.assert_allclose(shown[:3], [0, 60, 120], atol=3)


def test_a_film_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "film.gif"
    path.write_text("old")

    def pictures():
        yield np.zeros((40, 60, 3), np.uint8)
        raise UserError("cannot draw")

    with pytest.raises(UserError, match="cannot draw"):
        film.write(pictures(), path, 5)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_captions_stand_above_their_pictures():
    pictures = [np.full((320, 320, 3), value, np.uint8) for value in (50, 100)]
    image = film.captioned(pictures, ["one\ntwo", ""])
    assert image.shape == (364, 640, 3)
    np.testing.assert_array_equal(image[44:], np.concatenate(pictures, axis=1))
    assert image[:44, :320].min() < 100
    assert (image[:44, 320:] == 255).all()


def test_files_that_cannot_be_written_are_refused_beforehand(monkeypatch, tmp_path):
    film.check_sizes(tmp_path / "film.gif", 100, 2000)
    with pytest.raises(UserError, match=r"as \.gif or \.mp4, not as 'film\.avi'"):
        film.check_sizes(tmp_path / "film.avi", 25, 100)
    with pytest.raises(UserError, match="--fps must be at most 100, the most that a GIF can say, not 101"):
        film.check_sizes(tmp_path / "film.gif", 101, 100)
    with pytest.raises(
        UserError, match="2001 pictures are too many, at most 2000 fit into memory: give a larger --every"
    ):
        film.check_sizes(tmp_path / "film.gif", 25, 2001)
    monkeypatch.setattr(film.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install imageio-ffmpeg"):
        film.check_sizes(tmp_path / "film.mp4", 25, 100)


def has_opengl():
    """Whether MuJoCo can draw here; asked in another process, since failing may end it."""
    draw = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8).render()"
    return subprocess.run([sys.executable, "-c", draw], env=os.environ | {"MUJOCO_GL": "egl"}).returncode == 0


@pytest.mark.parametrize("name", ["half_cheetah_direction", "ant_velocity"])
def test_the_camera_follows_a_robot(name, tmp_path, monkeypatch):
    """Beside TensorFlow, which is loaded here, drawing in this process would crash it where OpenGL is software."""
    monkeypatch.setenv("MUJOCO_GL", "egl")
    env = gymnasium.make(envs.find(name).gym_id, disable_env_checker=True).unwrapped
    observation = env.reset(seed=0)[0]
    away = observation.copy()
    away[env.robot.obs_dim - 3] += 16.0  # metres along the track
    film_of = (name, np.array([0.5]), [np.stack([observation, away])], ["one"], 1, 5, tmp_path / "film.gif")
    if not has_opengl():
        with pytest.raises(UserError, match="MUJOCO_GL"):
            film.make(*film_of)
        return
    first, last = imageio.mimread(film.make(*film_of))[:2]
    for picture in first, last:
        red, green, blue = np.int32(picture[44:, :, :3]).transpose(2, 0, 1)
        robot = (red > green + 15) & (green > blue + 15)  # the floor is black, white or blue and green
        assert 300 < robot.sum() < 40_000
        assert abs(np.nonzero(robot)[1].mean() - 160) < 60, "it is not in the middle"


@pytest.mark.parametrize("name", [name for name in envs.ENVIRONMENTS if name != "point_navigation"])
def test_a_robot_is_placed_as_it_was_observed(name):
    moving, placed = (gymnasium.make(envs.find(name).gym_id, disable_env_checker=True).unwrapped for _ in range(2))
    moving.reset(seed=0)
    placed.reset(seed=1)
    for _ in range(40):
        observation = moving.step(np.ones(moving.action_space.shape))[0]
    placed.place(np.float32(observation))
    np.testing.assert_allclose(placed.data.qpos, moving.data.qpos, atol=1e-6)
    np.testing.assert_allclose(placed.data.geom_xpos, moving.data.geom_xpos, atol=1e-6)
    assert abs(moving.data.qpos[0]) > 0.01, "it must have moved along the track"
