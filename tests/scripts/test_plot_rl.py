"""The pictures of the training of policies."""

import csv

import pytest

from maml_tf.runs import published
from scripts import plot_rl
from tests.command import assert_refused


def test_training_is_drawn_beside_the_original(run, tmp_path):
    for seed, name in ((0, ""), (3, ".seed3")):
        folder = tmp_path / "runs" / "point_navigation" / f"maml.mbs_20.fbs_20.numgrad1.fastlr0.5.delta0.01{name}"
        folder.mkdir(parents=True)
        (folder / "progress.csv").write_text(f"iteration,return_before,return_after\n0,-70,-60\n1,-50,-{seed}\n")
    code, _, err = run(plot_rl, "--logdir=runs", "--seeds=0,3", "--out=pictures")
    assert code == 0, err
    with open(tmp_path / "pictures" / "point_navigation_training.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    ours = [(int(r["seed"]), float(r["after"])) for r in rows if r["whose"] == "ours"]
    assert ours == [(0, -60), (0, 0), (3, -60), (3, -3)]
    original = [float(r["after"]) for r in rows if r["whose"] == "original"]
    assert original == [*published.original_learning_curve("2d_navigation").after]
    assert (len(original), original[0], original[-1]) == (40, -64.88, -9.92)
    assert (tmp_path / "pictures" / "point_navigation_training.png").stat().st_size > 1000


def test_the_training_of_a_baseline_is_drawn_alone(run, tmp_path):
    progress_csv(tmp_path, b"iteration,return_before,return_after\n0,-70,-70\n", "pretrained.mbs_20.fbs_20.adam")
    code, _, err = run(plot_rl, "--baseline=pretrained", "--out=pictures")
    assert code == 0, err
    with open(tmp_path / "pictures" / "point_navigation_pretrained_training.csv", newline="") as file:
        assert [row["whose"] for row in csv.DictReader(file)] == ["ours"]


NAME = "maml.mbs_20.fbs_20.numgrad1.fastlr0.5.delta0.01"


def progress_csv(tmp_path, content, name=NAME):
    folder = tmp_path / "logs" / "point_navigation" / name
    folder.mkdir(parents=True)
    (folder / "progress.csv").write_bytes(content)
    return folder


def test_pictures_of_training_go_to_the_run_or_to_the_folder_that_runs_share(run, tmp_path):
    content = b"iteration,return_before,return_after\n0,-70,-60\n"
    folder = progress_csv(tmp_path, content)
    progress_csv(tmp_path, content, f"{NAME}.seed3")
    code, _, err = run(plot_rl)
    assert code == 0, err
    pictures = ["point_navigation_training.csv", "point_navigation_training.png"]
    assert sorted(file.name for file in folder.iterdir()) == [*pictures, "progress.csv"]
    assert run(plot_rl, "--seeds=0,3,0", "--name=both")[0] == 0
    assert sorted(file.name for file in folder.parent.glob("*.*g")) == ["both_training.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


WHOLE_ROW = b"iteration,return_before,return_after\n0,-70,-60\n"


@pytest.mark.parametrize(
    "content",
    [
        WHOLE_ROW + b"1,-5",
        WHOLE_ROW + b"1,-5\n",
        WHOLE_ROW + b"1,\xff,3\n",
        WHOLE_ROW + b"1,-5," + b"9" * 200_000 + b"\n",
        WHOLE_ROW + b"9" * 5000 + b",1,1\n",
        WHOLE_ROW + b"1,,-3\n",
        WHOLE_ROW.replace(b",", b";"),
        b"\xef\xbb\xbf" + WHOLE_ROW,
    ],
)
def test_whole_rows_of_a_damaged_file_are_drawn(run, tmp_path, content):
    folder = progress_csv(tmp_path, content)
    code, _, err = run(plot_rl)
    assert code == 0, err
    with open(folder / "point_navigation_training.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["whose"] == "ours"]
    assert [(row["iteration"], row["before"], row["after"]) for row in rows] == [("0", "-70", "-60")]


@pytest.mark.parametrize(
    "content", [b"", b"iteration,return_before,return_after\n", b"\0" * 99, b"notes\n", b"iteration\n0\n"]
)
def test_files_without_a_whole_row_are_one_sentence(run, tmp_path, content):
    folder = progress_csv(tmp_path, content)
    code, _, err = run(plot_rl)
    assert code == 2
    assert err.startswith("error: the returns in ")
    assert "cannot be read (it has no rows of them): train by `python -m scripts.train_rl`" in err
    assert [file.name for file in folder.iterdir()] == ["progress.csv"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds="], "flag --seeds=: give a value, or leave the flag out"),
        (["--seeds=-1"], "--seed must be at least 0, not -1"),
        (["--seeds=1,x"], "--seeds must be integers"),
        (["--seeds=5", "--seed=1"], "--seed and --seeds both name seeds: give one of them"),
        (["--seeds=5"], "train by `python -m scripts.train_rl --seed=5`"),
    ],
)
def test_training_that_cannot_be_drawn(run, tmp_path, flags, message):
    assert_refused(run(plot_rl, *flags), message)
    assert list(tmp_path.iterdir()) == []
