"""The command that films a policy before and after adaptation."""

import pytest
from PIL import Image

from maml_tf.runs import process
from rl import build
from scripts import render_rl

SMALL = ["--horizon=6", "--hidden_size=3", "--trajectories=2"]


@pytest.fixture
def _untrained(monkeypatch):
    """Has the command take initial weights, in this process."""
    monkeypatch.setattr(process, "configure", lambda kind: None)
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
    monkeypatch.setattr(process, "configure", lambda kind: None)
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
        (["--fps=101"], "--fps must be at most 100, the most that a GIF can say, not 101"),
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
