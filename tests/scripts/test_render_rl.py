"""The command that films a policy before and after adaptation."""

import pytest
from PIL import Image

from maml_tf import runtime
from rl import trained
from scripts import render_rl

SMALL = ["--horizon=6", "--hidden_size=3", "--trajectories=2"]


@pytest.fixture
def _untrained(monkeypatch):
    """Has the command take initial weights, in this process."""
    monkeypatch.setattr(runtime, "configure", lambda kind: None)
    monkeypatch.setattr(trained, "load_policy", lambda experiment, *_: (trained.new_policy(experiment), 7))


@pytest.mark.usefixtures("_untrained")
def test_films_before_and_after_adaptation(tmp_path, capsys):
    path = tmp_path / "film.gif"
    assert render_rl.main([*SMALL, "--goal=-0.3,0.2", "--num_updates=2", f"--out={path}"]) == 0, capsys.readouterr()
    assert capsys.readouterr().out.splitlines() == ["policy of iteration 7, goal -0.3, 0.2", str(path)]
    with Image.open(path) as film:
        assert film.size == (640, 364)
        assert film.n_frames >= 6


def test_a_missing_policy_is_told_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "configure", lambda kind: None)
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
        (["--best", "--test_iter=3"], "--best and --test_iter name different checkpoints"),
        (["--out=film.avi"], "A film is written as .gif or .mp4"),
    ],
)
def test_a_mistake_is_one_sentence(flags, message, capsys):
    assert render_rl.main(flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
