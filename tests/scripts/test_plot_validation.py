import csv
import functools
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs import style
from maml_tf.runs.checkpoints import BEST
from maml_tf.runs.published import Row
from maml_tf.supervised import evaluation, training
from maml_tf.supervised.training import Schedule
from scripts import plot_validation
from tests.maml_tf.small_runs import SINUSOID
from tests.maml_tf.supervised.trainings import Runs

LAST = 4
ITERATIONS = {"pretrain_iterations": 0, "metatrain": LAST}


@pytest.fixture(scope="module")
def runs():
    return Runs(SINUSOID)


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    """A run of sinusoids with validations at 2 and twice at 4, the second time with fewer tasks."""
    folder = tmp_path_factory.mktemp("validation") / "run"
    for tasks in (30, 20):
        for file in folder.glob(f"model{LAST}.*"):  # as if the process had been killed before
            file.unlink()
        shutil.rmtree(folder / BEST, ignore_errors=True)  # other validations do not compare
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "EVALUATION_TASKS", tasks)
            runs.training(folder, Schedule(summary=0, save=2, validate=2), log=True, **ITERATIONS).run()
    return folder


def test_numbers_are_those_of_the_last_validation_at_each_iteration(runs, folder):
    rows = plot_validation.numbers(folder, 10)
    assert [(row["iteration"], row["updates"]) for row in rows] == [(i, update) for i in (2, 4) for update in range(11)]
    again = runs.training(folder, **ITERATIONS)
    again.store.restore(LAST)
    expected = evaluation.evaluate(again.maml, again.data.validation_tasks, num_tasks=20, num_updates=10).mean
    assert [row["loss"] for row in rows[11:]] == pytest.approx(expected, rel=1e-5)


def test_command_writes_the_picture_and_its_numbers(folder, call, tmp_path):
    result = call(plot_validation.main, folder, "--out=pictures", "--name=sines", "--format=pdf")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["pictures/sines_validation.csv", "pictures/sines_validation.pdf"]
    with open(tmp_path / "pictures" / "sines_validation.csv", newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == pytest.approx(
            [row["loss"] for row in plot_validation.numbers(folder, 10)], rel=1e-6
        )
    assert (tmp_path / "pictures" / "sines_validation.pdf").read_bytes().startswith(b"%PDF")


def test_a_run_without_summaries_is_drawn_from_its_table(folder, call, tmp_path):
    run = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("events*"))
    rows = [row for row in plot_validation.numbers(folder, 10) if row["updates"] in (0, 10)]
    found = plot_validation.numbers(run, 10)
    assert [(row["iteration"], row["updates"]) for row in found] == [(2, 0), (2, 10), (4, 0), (4, 10)]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in rows], rel=1e-6)
    with open(run / "validation.csv", "a") as file:
        file.write("6,nan,0.5,0,0.5,0\n8,0.5,inf,0,0.5,1\nhalf a r")
    assert [row["iteration"] for row in plot_validation.numbers(run, 10)[4:]] == [6, 8]
    assert call(plot_validation.main, run).returncode == 0
    with open(events(tmp_path / "later", (LOSS, 0.25)) / "validation.csv", "w") as file:  # begun with --log=False
        file.write("iteration,loss_before,loss_after\n5,4.0,3.0\n10,2.0,0.75\n")
    both = [tuple(row.values()) for row in plot_validation.numbers(tmp_path / "later", 1)]
    assert both == [(5, 0, 4.0), (5, 1, 3.0), (10, 0, 2.0), (10, 1, 0.25)]


def test_accuracies_without_summaries_are_drawn_without_those_between():
    rows = [{"iteration": 10, "updates": updates, "accuracy": 0.5} for updates in (0, 5)]
    picture = style.make(plot_validation.draw, rows, *plot_validation.SIZE)
    assert [line.get_label() for line in picture.axes[0].get_lines()] == ["after 5 updates"]


def test_picture_goes_to_the_folder_of_the_run(folder, call, tmp_path):
    run = shutil.copytree(folder, tmp_path / "logs" / "run0.01")
    assert call(plot_validation.main, run).returncode == 0
    made = {file.name for file in run.iterdir()} - {file.name for file in folder.iterdir()}
    assert made == {"run0.01_validation.csv", "run0.01_validation.png"}
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_picture_of_accuracies_leaves_out_chance_and_shows_the_published_number():
    rows = [
        {"iteration": iteration, "updates": updates, "accuracy": 0.2 + 0.1 * updates + iteration / 100}
        for iteration in (10, 20)
        for updates in range(4)
    ]
    published = Row("MAML", 98.7, 0.4, "maml")
    picture = style.make(functools.partial(plot_validation.draw, row=published), rows, *plot_validation.SIZE)
    lines = {line.get_label(): line for line in picture.axes[0].get_lines()}
    assert lines.keys() == {"after 3 updates", "after 1 update", "published (test)"}
    assert lines["after 3 updates"].get_ydata() == pytest.approx([60, 70])
    assert set(lines["published (test)"].get_ydata()) == {98.7}


def test_folders_without_metrics_are_named(folder, call, tmp_path):
    result = call(plot_validation.main, tmp_path / "elsewhere")
    assert result.returncode == 2
    assert f"no checkpoint in {tmp_path / 'elsewhere'}" in result.stderr
    for file in folder.glob("model*"):
        shutil.copy(file, tmp_path)
    result = call(plot_validation.main, tmp_path)
    assert result.returncode == 2
    assert f"no validation metrics in {tmp_path}" in result.stderr


def events(folder, *values):
    """Writes a file of summaries of these (tag, tensor) into a new folder; returns the folder."""
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "events.out.tfevents.1.x.v2")) as file:
        file.write(tf.compat.v1.Event(file_version="brain.Event:2").SerializeToString())
        for tag, tensor in values:
            summary = tf.compat.v1.Summary()
            value = summary.value.add(tag=tag, tensor=tf.make_tensor_proto(tensor))
            value.metadata.plugin_data.plugin_name = "scalars"
            file.write(tf.compat.v1.Event(step=10, summary=summary).SerializeToString())
    return folder


ACCURACY, LOSS = "Validation accuracy, step 1", "Validation loss, step 1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([(ACCURACY, [0.5, 0.6])], "a summary in .* is damaged or cannot be read .*: remove the damaged one"),
        ([(ACCURACY, "text")], "a summary in .* is damaged or cannot be read"),
        (
            [(ACCURACY, 0.5), ("Validation loss, step 0", 2.0)],
            "has the summaries of different runs, accuracies and losses",
        ),
        ([("Validation accuracy, step 99999999999", 0.5)], "no validation metrics in"),
    ],
)
def test_summaries_that_cannot_be_drawn(tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        plot_validation.numbers(events(tmp_path / "run", *values), 1)


def test_damaged_files_of_summaries(tmp_path):
    (file,) = events(tmp_path / "run", (ACCURACY, 0.5)).iterdir()
    whole = file.read_bytes()
    for content in (whole[:-5], whole[: len(whole) // 2], bytes(99), b""):
        file.write_bytes(content)
        with pytest.raises(UserError, match="no validation metrics in"):
            plot_validation.numbers(file.parent, 1)
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"\xff\xff")  # a whole record that holds no event
    with pytest.raises(UserError, match=r"a summary in .* is damaged"):
        plot_validation.numbers(file.parent, 1)


def test_a_run_of_reinforcement_learning_is_told_its_command(call):
    committed = Path(__file__).parents[2] / "runs"
    run = committed / "half_cheetah_direction" / "maml.mbs_40.fbs_20.numgrad1.fastlr0.1.delta0.02.nonlinearitytanh"
    result = call(plot_validation.main, run)
    assert result.returncode == 2
    assert "is no run of main.py: scripts.plot_rl draws those of scripts.train_rl" in result.stderr
