"""Tests of the logs: summaries, tables by iteration, damaged tables of resumed runs, and failures to write."""

import os

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.runs import log
from maml_tf.runs.log import Table, summaries
from maml_tf.supervised import training
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.training import Schedule, validation_scalars
from tests.maml_tf.small_runs import IMAGES, assert_same_numbers, use_small_omniglot
from tests.maml_tf.supervised.trainings import END, Runs

COLUMNS = ("return", "loss", "seconds")
HEADER = "iteration,return,loss,seconds\n"
ROWS = ["0,-70.5,,1.5\n", "1,-60.25,1e-05,1.25\n", "2,-50,nan,1\n"]
WHOLE = HEADER + "".join(ROWS)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Trainings on the small Omniglot, with the network that is quickest to trace."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_omniglot(patch, tmp_path_factory.mktemp("omniglot"))
        return Runs(IMAGES | {"conv": False, "norm": "None"})


def test_summaries_are_the_original_s(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 30)
    images.training(tmp_path, Schedule(summary=4, save=0, validate=6), log=True).run()
    found = scalars(tmp_path)
    names = ["Pre-update loss", "Pre-update accuracy"]
    names += [f"Post-update {kind}, step {i}" for kind in ("loss", "accuracy") for i in range(1, 6)]
    validation = [f"Validation accuracy, step {i}" for i in range(4)]
    assert {name for name, _ in found} == {*names, *validation}
    assert {step for name, step in found if name in names} == {0, 4}
    assert {step for name, step in found if name in validation} == {6, 8}  # also at the end
    images.training(tmp_path / "again", Schedule(summary=4, save=0, validate=0), log=True).run()
    assert scalars(tmp_path / "again") == {key: value for key, value in found.items() if key[0] in names}
    images.training(tmp_path)  # back to the initial weights
    tasks = images.data.source.sample(0, "train", 0, IMAGES["meta_batch_size"])
    curves = images.maml.evaluate(tasks, 5)
    assert found["Pre-update loss", 0] == pytest.approx(curves["support_loss"].mean(), rel=1e-5)
    assert found["Post-update loss, step 1", 0] == pytest.approx(curves["losses"][:, 1].mean(), rel=1e-5)
    assert found["Post-update accuracy, step 5", 0] == pytest.approx(curves["accuracies"][:, 5].mean(), rel=1e-5)


def scalars(folder):
    """Returns {(name, step): value} of all summaries in a folder."""
    found = {}
    for file in folder.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_no_summaries_without_log(images, tmp_path):
    images.training(tmp_path, Schedule(summary=1, save=0, validate=0), log=False, metatrain=1).run()
    assert list(tmp_path.glob("events.*")) == []


def test_training_goes_to_its_end_without_summaries_that_cannot_be_written(sinusoids, tmp_path, capsys, monkeypatch):
    sinusoids.training(tmp_path / "straight").run()

    def full_disk(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "{{function_node x}} a.v2; No space left on device [Op:x]")

    monkeypatch.setattr(tf.summary, "scalar", full_disk)
    folder = tmp_path / "run"
    sinusoids.training(folder, Schedule(summary=1, save=0, validate=0), log=True).run()
    assert capsys.readouterr().err.strip() == (
        f"warning: cannot write TensorBoard's summaries in {folder} (a.v2; No space left on device): "
        "training continues without it, and what would be written there from now on is lost"
    )
    assert_same_numbers(folder / f"model{END}", tmp_path / "straight" / f"model{END}")


def test_event_file_that_cannot_be_made_is_a_warning(tmp_path, capsys):
    (tmp_path / "file").touch()
    with summaries(tmp_path / "file") as write:
        for iteration in range(3):
            write({"loss": 1.0}, iteration)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"warning: cannot write TensorBoard's summaries in {tmp_path / 'file'} (")


def test_bugs_keep_their_traceback(tmp_path):
    with pytest.raises(ValueError, match="could not convert"), summaries(tmp_path) as write:
        write({"loss": "much"}, 1)


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    with summaries(tmp_path) as write:
        write({"a": np.nan, "b": np.inf, "c": 1e300, "d": np.float64(2)}, 1)
        write({"a": np.nan}, 2)
        write({"a": 3}, 3)
    assert scalars(tmp_path) == {("d", 1): 2, ("a", 3): 3}


def test_validation_has_numbers_that_are_finite_where_tasks_diverge(tmp_path):
    query = np.tile([[2.0, 1.0]], [600, 1])
    assert validation_scalars(Evaluation("loss", query[:, 0], query)) == {
        "Validation loss, step 0": 2,
        "Validation loss, step 1": 1,
    }
    query[0, 1] = np.nan
    with summaries(tmp_path) as write:
        write(validation_scalars(Evaluation("loss", query[:, 0], query)), 7)
    assert scalars(tmp_path) == {
        ("Validation loss, step 0", 7): 2,
        ("Validation diverged tasks, step 1", 7): 1,
        ("Validation median loss, step 1", 7): 1,
        ("Validation loss without diverged tasks, step 1", 7): 1,
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.csv"


def resumed(path, content, iteration=3):
    """Writes the content to the table's file and resumes a run with it; returns the file's new text."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    Table(path, COLUMNS).begin(iteration)
    return path.read_text()


def test_rows_are_added_and_those_that_come_again_are_dropped(path):
    table = Table(path, COLUMNS)
    assert table.begin(0) == []
    for iteration in range(3):
        table.add(iteration, {"return": iteration / 2, "seconds": 1, "of no column": 2})
    assert path.read_text() == HEADER + "0,0.0,,1.0\n1,0.5,,1.0\n2,1.0,,1.0\n"
    kept = Table(path, COLUMNS).begin(2)
    assert [row["return"] for row in kept] == ["0.0", "0.5"]
    assert path.read_text() == HEADER + "0,0.0,,1.0\n1,0.5,,1.0\n"
    assert os.listdir(path.parent) == [path.name]


def test_numbers_have_so_many_digits(path):
    for digits, text in ((7, "0,0.3333333,12345.68,\n"), (None, f"0,{1 / 3!r},12345.678901,\n")):
        table = Table(path, COLUMNS, digits)
        table.begin(0)
        table.add(0, {"return": 1 / 3, "loss": np.float64(12345.678901)})
        assert path.read_text() == HEADER + text


@pytest.mark.parametrize(
    "content",
    [
        WHOLE,
        b"\xef\xbb\xbf" + WHOLE.encode(),
        WHOLE.replace("\n", "\r\n"),
        WHOLE.replace("\n", "\n\n"),
        WHOLE.replace("-70.5", '"-70.5"').replace("return", '"return"'),
        WHOLE + "3,-4",  # cut off by a kill
        WHOLE + "3",
        WHOLE + "\0" * 512,  # after a power failure
        "return,iteration,seconds,loss\n-70.5,0,1.5,\n-60.25,1,1.25,1e-05\n-50,2,1,nan\n",
    ],
)
def test_what_is_no_damage(path, content, capsys):
    assert resumed(path, content) == WHOLE
    assert os.listdir(path.parent) == [path.name]
    assert capsys.readouterr() == ("", "")


def test_a_last_row_without_its_end_may_lack_digits(path, capsys):
    *rows, last = WHOLE.splitlines(keepends=True)
    for cut in range(1, len(last)):
        assert resumed(path, WHOLE[:-cut]) == "".join(rows)
    assert capsys.readouterr() == ("", "")
    path.write_text(WHOLE[:-1])
    assert len(Table(path, COLUMNS).rows()) == len(rows) - 1
    assert len(log.read(path, ("iteration", *COLUMNS)).rows) == len(rows)  # for files that others write


def test_columns_that_an_earlier_version_lacked_are_empty(path):
    assert resumed(path, "iteration,loss\n0,1\n") == HEADER + "0,,1,\n"
    assert os.listdir(path.parent) == [path.name]


def damage(content):
    return content if isinstance(content, bytes) else content.encode()


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (WHOLE.replace(",", ";"), ROWS),
        (WHOLE.replace(",", ";").replace(".", ","), ROWS),  # from a spreadsheet with decimal commas
        (WHOLE.replace(",", "\t"), ROWS),
        (WHOLE.replace("iteration", "Iteration"), ROWS),
        (WHOLE.replace("loss", "a loss"), ROWS),
        (WHOLE.replace("iteration", "iter"), ROWS),
        (WHOLE.replace("return", "retürn").encode("latin-1"), ROWS),
        (WHOLE.replace("seconds", "seconds,mine").replace("\n", ",x\n").replace("mine,x", "mine"), ROWS),
        ("".join(ROWS), ROWS),  # without a header
        (WHOLE.replace("-50,", "-5\xff,").encode("latin-1"), ROWS[:2]),
        (WHOLE.replace("-60.25", "-60\0.25"), [ROWS[0], ROWS[2]]),
        (WHOLE.replace("-60.25", '"-60.25'), [ROWS[0], ROWS[2]]),
        (HEADER + ROWS[0] + "1,-6\n" + ROWS[2], [ROWS[0], ROWS[2]]),
        (WHOLE.replace("-60.25", "0" * 200_000), [ROWS[0], ROWS[2]]),
        (WHOLE.replace("-60.25", "9" * 5000), [ROWS[0], ROWS[2]]),
        (WHOLE + "9" * 5000 + ",1,1,1\n", ROWS),
        (WHOLE.replace("1,-60.25", "-1,-60.25"), [ROWS[0], ROWS[2]]),
        (WHOLE.replace("1,-60.25", "1.0,-60.25"), [ROWS[0], ROWS[2]]),
        (WHOLE.replace("-60.25", "#ERROR!"), [ROWS[0], ROWS[2]]),
        (WHOLE.replace("1,-60.25,1e-05,1.25", "1,,,"), [ROWS[0], ROWS[2]]),
        (WHOLE.encode("utf-16"), []),
        ("what somebody noted down\n", []),
        (bytes(range(256)), []),
        ("step,size\n1,2\n", []),
    ],
)
def test_a_damaged_file_is_put_aside_and_its_whole_rows_are_kept(path, content, kept, capsys):
    assert resumed(path, content) == HEADER + "".join(kept)
    assert path.with_name("progress.csv.damaged1").read_bytes() == damage(content)
    told = f"{path} was damaged: it is now progress.csv.damaged1, and the rows that can be read are kept\n"
    assert capsys.readouterr() == (told, "")
    assert resumed(path, content) == HEADER + "".join(kept)
    assert path.with_name("progress.csv.damaged2").exists()


def test_a_folder_in_the_place_of_the_file_is_put_aside(path):
    path.mkdir()
    (path / "mine").touch()
    Table(path, COLUMNS).begin(3)
    assert path.read_text() == HEADER
    assert (path.with_name("progress.csv.damaged1") / "mine").exists()


def test_an_empty_file_is_begun(path):
    assert resumed(path, "", iteration=0) == HEADER
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_has_lost_everything_is_told(path, capsys):
    assert resumed(path, "") == HEADER
    assert "progress.csv was damaged: it is now progress.csv.damaged1" in capsys.readouterr().out


def test_a_full_disk_is_told_once_and_loses_no_earlier_row(path, capsys):
    table = Table(path, COLUMNS)
    table.begin(0)
    table.add(0, {"return": 1})
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("/dev/full")
    for iteration in (1, 2):
        table.add(iteration, {"return": 1})
    told = (
        f"\nwarning: cannot write {path} (No space left on device): training continues without it, "
        "and what would be written there from now on is lost\n"
    )
    assert capsys.readouterr() == ("", told)


def test_a_damaged_file_stays_where_no_other_can_be_written(path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    path.write_text("x" + WHOLE)
    monkeypatch.setattr("maml_tf.runs.log.flush", full)
    table = Table(path, COLUMNS)
    table.begin(3)
    table.add(3, {"return": 1})
    assert path.read_text() == "x" + WHOLE
    assert os.listdir(path.parent) == [path.name]
    assert capsys.readouterr().err.count("warning: cannot write") == 1
