"""Tests of `gradient_cosine.csv`: the rows that a training run writes, also when it is stopped and resumed."""

import numpy as np
import pytest

from data_generators import progress
from maml_tf.supervised.training import GRADIENT_COSINE, Schedule
from tests.maml_tf.runs.test_log import scalars
from tests.maml_tf.small_runs import assert_same_numbers
from tests.maml_tf.supervised.trainings import END, EVERY, PRETRAIN, Killed, at_save, kill

NAME = "gradient_cosine.csv"


def rows(folder):
    header, *lines = (folder / NAME).read_text().splitlines()
    assert header == "iteration,cosine"
    return [(int(iteration), float(cosine)) for iteration, cosine in (line.split(",") for line in lines)]


def test_a_run_notes_its_cosines_and_ends_with_the_same_numbers(runs, straight, tmp_path, capfd, monkeypatch):
    """The same holds when it is killed and resumed. `straight` is a run that notes no cosines."""
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.01)
    schedule = Schedule(summary=2, save=5, validate=0)
    assert runs.training(tmp_path / "run", schedule, log=True, cosine=True).run()
    noted = rows(tmp_path / "run")
    assert [iteration for iteration, _ in noted] == [i for i in range(PRETRAIN, END) if i % 2 == 0]
    assert all(-1 <= cosine <= 1 and abs(cosine) > 1e-3 for _, cosine in noted)
    assert_same_numbers(tmp_path / "run" / f"model{END}", straight)
    summaries = {step: value for (name, step), value in scalars(tmp_path / "run").items() if name == GRADIENT_COSINE}
    assert summaries == {iteration: pytest.approx(cosine, rel=1e-6) for iteration, cosine in noted}
    assert f", cosine {noted[-1][1]:.4f}" in capfd.readouterr().err

    resumed = tmp_path / "resumed"
    with pytest.raises(Killed):
        at_save(runs.training(resumed, schedule, cosine=True), END, kill).run()
    assert rows(resumed) == noted
    again = runs.training(resumed, schedule, cosine=True)
    assert again.run()
    assert again.training.status({"pre_loss": np.zeros(1)}).endswith(f", cosine {noted[-1][1]:.4f}")
    assert rows(resumed) == noted
    assert_same_numbers(resumed / f"model{END}", straight)
    assert not list(resumed.glob("events.*"))


def test_nothing_is_noted_unless_asked_for(runs, tmp_path):
    runs.training(tmp_path, Schedule(summary=1, save=0, validate=0), metatrain=1).run()
    assert not (tmp_path / NAME).exists()


def test_a_file_that_is_something_else_is_put_aside(sinusoids, tmp_path, capsys):
    sinusoids.training(tmp_path, EVERY, metatrain=1).run()
    (tmp_path / NAME).write_text("iteration,loss\n1,2\n")
    sinusoids.training(tmp_path, EVERY, cosine=True).run()
    assert (tmp_path / f"{NAME}.damaged1").read_text() == "iteration,loss\n1,2\n"
    assert f"{NAME} was damaged: it is now {NAME}.damaged1" in capsys.readouterr().out
