"""The command that films a policy before and after adaptation: which pictures a film shows, and its file."""

import functools
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
from maml_tf.runs import process
from rl import build, envs
from scripts import render_rl

SMALL = ["--horizon=6", "--hidden_size=3", "--trajectories=2"]


@pytest.fixture
def _untrained(monkeypatch):
    """Makes the command use initial weights, in this process."""
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)
    monkeypatch.setattr(build, "load_policy", lambda experiment, *_: (build.new_policy(experiment), 7))


@pytest.mark.usefixtures("_untrained")
def test_films_before_and_after_adaptation(tmp_path, capsys):
    path = tmp_path / "film.gif"
    assert render_rl.main([*SMALL, "--goal=-0.3,0.2", "--num_updates=2", f"--out={path}"]) == 0, capsys.readouterr()
    assert capsys.readouterr().out.splitlines() == ["policy of iteration 7, goal -0.3, 0.2", str(path)]
    with Image.open(path) as film:
        assert film.size == (640, 364)
        assert film.n_frames >= 6


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file/x.gif", "cannot write to file (File exists)"),
        ("/dev/null/x/y.gif", "cannot write to /dev/null/x (Not a directory)"),
        ("a" * 300 + ".gif", ".gif (File name too long)"),
        ("folder.gif", "cannot write folder.gif (Is a directory)"),
    ],
)
def test_a_film_that_cannot_be_written_is_found_out_before_it_is_computed(tmp_path, capsys, monkeypatch, out, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(render_rl, "_adapted", lambda *arguments: pytest.fail("the film is computed"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.gif").mkdir()
    assert render_rl.main([*SMALL, f"--out={out}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.gif"]


def test_a_missing_policy_is_told_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)
    monkeypatch.chdir(tmp_path)
    assert render_rl.main(["--env=point_navigation"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no trained policy in logs/point_navigation/")
    assert "python -m scripts.train_rl" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--goal=0.3"], "--goal of point_navigation is written as --goal=-0.083,0.22, not '0.3'"),
        (["--goal=left,right"], "--goal of point_navigation is written as"),
        (["--env=ant_velocity", "--goal=nan"], "--goal of ant_velocity is written as --goal=1.3, not 'nan'"),
        (["--env=my_module:Env-v0"], "my_module:Env-v0 cannot be filmed: only point_navigation"),
        (["--baseline=oracle"], "--baseline=oracle does not adapt"),
        (["--num_updates=0"], "--num_updates must be at least 1, not 0"),
        (["--fps=-1"], "--fps must be at least 1, not -1"),
        (["--fps=101"], "--fps must be at most 100, not 101"),
        (["--fps=100000"], "--fps must be at most 100"),
        ([f"--trajectories={10**30}"], "--trajectories must be at most 100000"),
        ([f"--num_updates={10**30}"], "--num_updates must be at most 1000"),
        (["--horizon=5000"], "5001 pictures are too many, at most 2000 fit into memory: give a larger --every"),
        (["--best", "--test_iter=3"], "--best and --test_iter name different checkpoints"),
        (["--out=film.avi"], "A film is written as .gif or .mp4"),
    ],
)
def test_a_mistake_is_one_sentence(flags, message, capsys):
    assert render_rl.main(flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def line(steps):
    return np.linspace([0, 0], [0.5, 0.1], steps)


def test_a_trajectory_that_has_ended_stays_beside_the_other():
    pictures = list(render_rl.frames("point_navigation", np.array([0.3, -0.2]), [line(6), line(3)], every=2))
    assert len(pictures) == 4  # steps 0, 2, 4 and the last
    assert {picture.shape for pair in pictures for picture in pair} == {(320, 320, 3)}
    same = [[np.array_equal(one[i], other[i]) for one, other in itertools.pairwise(pictures)] for i in (0, 1)]
    assert same == [[False, False, False], [False, True, True]]


def test_a_film_holds_its_pictures_and_a_second_of_the_last(tmp_path):
    pictures = [np.full((40, 60, 3), value, np.uint8) for value in (0, 60, 120)]
    path = render_rl.write(iter(pictures), tmp_path / "new" / "film.gif", fps=5)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as image:
        durations = []
        for frame in range(image.n_frames):  # equal neighbours become one, shown for longer
            image.seek(frame)
            durations.append(image.info["duration"])
        assert durations[:2] == [200, 200]
        assert sum(durations) == 200 * (3 + 5)
        assert image.info["loop"] == 0
    shown = [int(frame[..., 0].mean()) for frame in imageio.mimread(path)]
    np.testing.assert_allclose(shown[:3], [0, 60, 120], atol=3)


@pytest.mark.parametrize(("fps", "duration"), [(60, 20), (40, 30), (30, 30), (70, 10), (25, 40)])
def test_a_film_plays_at_the_rate_that_is_told(tmp_path, capsys, fps, duration):
    """A GIF shows a picture for whole hundredths of a second."""
    pictures = (np.full((4, 6, 3), 60 * value, np.uint8) for value in range(3))
    with Image.open(render_rl.write(pictures, tmp_path / "film.gif", fps=fps)) as image:
        assert image.info["duration"] == duration
    told = f"{1000 / duration:.3g} a second, not {fps}"
    assert (told in capsys.readouterr().out) == (fps * duration != 1000)


def test_a_film_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "film.gif"
    path.write_text("old")

    def pictures():
        yield np.zeros((40, 60, 3), np.uint8)
        raise UserError("cannot draw")

    with pytest.raises(UserError, match="cannot draw"):
        render_rl.write(pictures(), path, 5)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_captions_stand_above_their_pictures():
    pictures = [np.full((320, 320, 3), value, np.uint8) for value in (50, 100)]
    image = render_rl.captioned(pictures, ["one\ntwo", ""])
    assert image.shape == (364, 640, 3)
    np.testing.assert_array_equal(image[44:], np.concatenate(pictures, axis=1))
    assert image[:44, :320].min() < 100
    assert (image[:44, 320:] == 255).all()


def test_files_that_cannot_be_written_are_refused_beforehand(monkeypatch, tmp_path):
    render_rl.check_format(tmp_path / "film.gif", 2000)
    with pytest.raises(UserError, match=r"as \.gif or \.mp4, not as 'film\.avi'"):
        render_rl.check_format(tmp_path / "film.avi", 100)
    with pytest.raises(
        UserError, match="2001 pictures are too many, at most 2000 fit into memory: give a larger --every"
    ):
        render_rl.check_format(tmp_path / "film.gif", 2001)
    monkeypatch.setattr(render_rl.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install imageio-ffmpeg"):
        render_rl.check_format(tmp_path / "film.mp4", 100)


@functools.cache
def has_opengl():
    """Whether MuJoCo can draw here; tested in another process, since a failure may end the process."""
    draw = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8).render()"
    return subprocess.run([sys.executable, "-c", draw], env=os.environ | {"MUJOCO_GL": "egl"}).returncode == 0


@pytest.mark.parametrize("name", ["half_cheetah_direction", "ant_velocity"])
def test_the_camera_follows_a_robot(name, tmp_path, monkeypatch):
    """`film` draws in another process: TensorFlow is loaded in this one, where OpenGL in software would crash."""
    monkeypatch.setenv("MUJOCO_GL", "egl")
    env = gymnasium.make(envs.find(name).gym_id, disable_env_checker=True).unwrapped
    observation = env.reset(seed=0)[0]
    away = observation.copy()
    away[env.robot.obs_dim - 3] += 16.0  # metres along the track
    film_of = (name, np.array([0.5]), [np.stack([observation, away])], ["one"], 1, 5, tmp_path / "film.gif")
    if not has_opengl():
        with pytest.raises(UserError, match="MUJOCO_GL"):
            render_rl.film(*film_of)
        return
    first, last = imageio.mimread(render_rl.film(*film_of))[:2]
    for picture in first, last:
        red, green, blue = np.int32(picture[44:, :, :3]).transpose(2, 0, 1)
        robot = (red > green + 15) & (green > blue + 15)  # the floor is black, white or blue and green
        assert 300 < robot.sum() < 40_000
        assert abs(np.nonzero(robot)[1].mean() - 160) < 60, "it is not in the middle"


@pytest.mark.parametrize("name", [name for name, env in envs.ENVIRONMENTS.items() if "locomotion" in env.entry_point])
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
