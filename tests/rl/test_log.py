"""A run whose log cannot be written continues without it."""

import csv

import numpy as np
import tensorflow as tf

from tests.rl.small_runs import train, training


def test_a_full_disk_ends_the_log_and_not_the_training(tmp_path, capsys, monkeypatch):
    def full(*arguments, **settings):
        raise tf.errors.ResourceExhaustedError(None, None, f"{tmp_path}/events; No space left on device")

    run = training(tmp_path, log=True)
    iterate = run.iterate

    def iterate_on_a_full_disk(iteration):
        metrics = iterate(iteration)
        if iteration == 1:
            (tmp_path / "progress.csv").rename(tmp_path / "row 0")
            (tmp_path / "progress.csv").symlink_to("/dev/full")
            monkeypatch.setattr(tf.summary, "flush", full)
        return metrics

    monkeypatch.setattr(run, "iterate", iterate_on_a_full_disk)
    assert train(run)
    assert (tmp_path / "model4.index").exists()
    assert len((tmp_path / "row 0").read_text().splitlines()) == 2
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert [line.partition(" (")[0] for line in warnings] == [
        f"warning: cannot write {tmp_path / 'progress.csv'}",
        f"warning: cannot write TensorBoard's summaries in {tmp_path}",
    ]
    assert all("No space left on device): training continues without it" in line for line in warnings)


def test_a_resumed_run_keeps_the_rows_of_a_damaged_file(tmp_path, capsys):
    train(training(tmp_path, iterations=2))
    path = tmp_path / "progress.csv"
    content = path.read_text()
    path.write_bytes(content.replace(",", ";").encode())
    train(training(tmp_path, iterations=3))
    assert "progress.csv was damaged: it is now progress.csv.damaged1" in capsys.readouterr().out
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert path.read_text().startswith(content)
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    assert np.isfinite([float(row["return_after"]) for row in rows]).all()


def test_rows_that_are_lost_are_told(tmp_path, capsys):
    run = training(tmp_path)
    with run.opened(0):
        for iteration in range(3):
            run.table.add(iteration, {"seconds": 1.0})
    path = tmp_path / "progress.csv"
    path.write_text(path.read_text()[:-3])  # the last row is cut off
    with run.opened(3):
        assert capsys.readouterr().out == f"{path} holds 2 of the 3 iterations so far; the others are lost\n"
