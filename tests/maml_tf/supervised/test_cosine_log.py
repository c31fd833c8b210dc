"""`gradient_cosine.csv`: its rows, through stops and resuming, and what a training run writes there."""

import numpy as np
import pytest

from data_generators import progress
from maml_tf.runs.log import GRADIENT_COSINE
from maml_tf.supervised.training import CosineLog, Schedule
from tests.maml_tf.runs.test_summaries import scalars
from tests.maml_tf.small_runs import assert_same_numbers
from tests.maml_tf.supervised.trainings import END, PRETRAIN, Killed, at_save, kill

NAME = "gradient_cosine.csv"


def rows(folder):
    header, *lines = (folder / NAME).read_text().splitlines()
    assert header == "iteration,cosine"
    return [(int(iteration), float(cosine)) for iteration, cosine in (line.split(",") for line in lines)]


def test_rows_go_on_from_where_the_run_does(tmp_path):
    log = CosineLog(tmp_path, 0)
    assert log.latest is None
    for iteration, cosine in ((0, 0.1 + 0.2), (100, float("nan")), (200, -1.0)):
        log.add(iteration, cosine)
    again = CosineLog(tmp_path, 200)
    again.add(200, 0.5)
    assert again.latest == 0.5
    (_, first), (_, second), last = rows(tmp_path)
    assert first == 0.1 + 0.2
    assert np.isnan(second)
    assert last == (200, 0.5)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert CosineLog(tmp_path, 0).latest is None


def test_a_file_that_is_something_else_is_put_aside(tmp_path, capsys):
    (tmp_path / NAME).write_text("iteration,loss\n1,2\n")
    assert CosineLog(tmp_path, 5).latest is None
    assert (tmp_path / f"{NAME}.damaged1").read_text() == "iteration,loss\n1,2\n"
    assert f"{NAME} was damaged: it is now {NAME}.damaged1" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_told_once(tmp_path, capsys):
    log = CosineLog(tmp_path, 0)
    log.add(0, 0.5)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).symlink_to("/dev/full")
    for iteration in 100, 200:
        log.add(iteration, 0.6)
    warning = capsys.readouterr().err.strip()
    assert warning.startswith(f"warning: cannot write {tmp_path / NAME} (No space left on device): training continues")
    assert "\n" not in warning
    assert log.latest == 0.6


def test_a_run_notes_its_cosines_and_ends_with_the_same_numbers(runs, straight, tmp_path, capfd, monkeypatch):
    """Killed and resumed, too; `straight` is a run that notes nothing."""
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.01)
    schedule = Schedule(summary=2, save=5, validate=0)
    run = runs.training(tmp_path / "run", schedule, log=True)
    run.log_gradient_cosine = True
    run.run()
    noted = rows(tmp_path / "run")
    assert [iteration for iteration, _ in noted] == [i for i in range(PRETRAIN, END) if i % 2 == 0]
    assert all(-1 <= cosine <= 1 and abs(cosine) > 1e-3 for _, cosine in noted)
    assert_same_numbers(tmp_path / "run" / f"model{END}", straight)
    summaries = {step: value for (name, step), value in scalars(tmp_path / "run").items() if name == GRADIENT_COSINE}
    assert summaries == {iteration: pytest.approx(cosine, rel=1e-6) for iteration, cosine in noted}
    assert f", cosine {noted[-1][1]:.4f}" in capfd.readouterr().err

    resumed = tmp_path / "resumed"
    killed = at_save(runs.training(resumed, schedule), END, kill)
    killed.log_gradient_cosine = True
    with pytest.raises(Killed):
        killed.run()
    assert rows(resumed) == noted
    again = runs.training(resumed, schedule)
    again.log_gradient_cosine = True
    again.run()
    assert again.iteration == END
    assert rows(resumed) == noted
    assert_same_numbers(resumed / f"model{END}", straight)
    assert not list(resumed.glob("events.*"))


def test_nothing_is_noted_unless_asked_for(runs, tmp_path):
    runs.training(tmp_path, Schedule(summary=1, save=0, validate=0), metatrain=1).run()
    assert not (tmp_path / NAME).exists()
