"""scripts.compare_rl: the returns of several trainings, from folders of runs and from csv files."""

import csv

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maml_tf.runs import style
from scripts import compare_rl
from scripts.figures import rl_seeds

RETURNS = "iteration,return_before,return_after\n0,-40,-30\n1,-41,-20.5\n"


@pytest.fixture
def runs(tmp_path):
    """The flags for a run, whose last row is incomplete, and for a csv with fewer columns."""
    (tmp_path / "runs" / "maml").mkdir(parents=True)
    (tmp_path / "runs" / "maml" / "progress.csv").write_text(RETURNS + "2,-4")
    (tmp_path / "runs" / "other.csv").write_text("iteration,return_after\n0,7\n")
    return ["--line=ReLU, seed 1=runs/maml", "--line=original, seed 1=runs/other.csv"]


def test_writes_the_returns_after_the_update_by_line(call, runs, tmp_path):
    result = call(compare_rl.main, *runs, "--env=half_cheetah_direction", "--name=seeds", "--out=out")
    assert result.returncode == 0, result.stderr
    with open(tmp_path / "out" / "seeds_training.csv", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [("ReLU, seed 1", "0", "-30"), ("ReLU, seed 1", "1", "-20.5"), ("original, seed 1", "0", "7")]
    assert (tmp_path / "out" / "seeds_training.png").read_bytes().startswith(b"\x89PNG")


def test_a_tilde_after_the_name_is_the_home_folder(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [row["after"] for row in rl_seeds.numbers(rl_seeds.files(["a=~/runs/other.csv"]))] == [7]


def test_the_original_is_black_and_a_group_has_one_colour():
    names = ["ReLU, seed 1", "original, seed 1", "ReLU, seed 2", "tanh, seed 1", "original, seed 2"]
    figure = Figure()
    rl_seeds.draw(figure, [{"line": name, "iteration": i, "after": 1.0} for name in names for i in range(3)], 293.193)
    *lines, published = figure.axes[0].lines
    assert [line.get_label() for line in lines] == [f"{name} (3)" for name in names]
    colours = [style.BLUE, style.BLACK, style.BLUE, style.ORANGE, style.BLACK]
    assert [to_rgb(line.get_color()) for line in lines] == [to_rgb(colour) for colour in colours]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", "-", "--"]
    assert (published.get_label(), published.get_ydata()[0]) == ("published: 293.2", 293.193)


def test_no_two_lines_look_the_same():
    names = [f"{group}, {number}" for number in range(2) for group in "abcdefgh"]
    figure = Figure()
    rl_seeds.draw(figure, [{"line": name, "iteration": i, "after": 1.0} for name in names for i in range(3)])
    looks = {str((to_rgb(line.get_color()), line._dash_pattern, line.get_alpha())) for line in figure.axes[0].lines}
    assert len(looks) == len(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--line is missing"),
        (["--line=runs/maml"], "--line=runs/maml must be a name and, after a '=', the folder of a run or a csv"),
        (["--line=a=runs/maml", "--line=a=runs/other.csv"], "two lines are named 'a': give each a name of its own"),
        (["--line=a=runs/none.csv"], "the returns in runs/none.csv cannot be read (No such file or directory): name"),
        (["--line=a=runs"], "the returns in runs/progress.csv cannot be read (No such file or directory): name"),
        (["--line=a=runs/empty.csv"], "the returns in runs/empty.csv cannot be read (it has no rows of them): name"),
        (["--line=a=runs/kl.csv"], "the returns in runs/kl.csv cannot be read (it has no rows of them): name"),
        (["--line=a=runs/maml", "--out=runs/maml/progress.png"], "runs/maml/progress.csv holds what is drawn"),
        (["--line=a=runs/maml", "--out=a.svg"], "pictures are written as PNG or PDF"),
    ],
)
def test_what_is_refused(call, runs, tmp_path, arguments, message):
    (tmp_path / "runs" / "empty.csv").write_text("iteration,return_after\n")
    (tmp_path / "runs" / "kl.csv").write_text("iteration,return_before,kl\n0,-40,0.011\n")
    result = call(compare_rl.main, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    assert (tmp_path / "runs" / "maml" / "progress.csv").read_text() == RETURNS + "2,-4"
