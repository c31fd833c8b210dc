"""Comparison of the tests of several runs: generated files, checked against NumPy, and folders of small runs."""

import csv
import os
import pickle
import shutil

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import Checkpoints, available
from maml_tf.supervised import build
from maml_tf.supervised.conditions import Conditions, of_tasks
from maml_tf.supervised.evaluation import Evaluation, write
from maml_tf.supervised.experiment import Experiment
from scripts import compare
from scripts.figures import comparison
from tests.command import assert_refused
from tests.maml_tf import small_runs

NAME = "test_ubs3_stepsize0.01"


def made(folder, seed, name=NAME, tasks=20, updates=4):
    """Writes a pkl of random metrics [tasks, 1 + updates]; returns the metrics."""
    metrics = np.random.default_rng(seed).random((tasks, 1 + updates))
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pkl").write_bytes(pickle.dumps({"mses": metrics}))
    return metrics


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The folder of a small run of sinusoids with K = 3."""
    experiment = small_runs.small(small_runs.SINUSOID, 1)
    folder = build.run_folder(experiment, tmp_path_factory.mktemp("runs"))
    assert small_runs.training(experiment, folder, jit=False).run()
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_paired_differences_of_made_files_are_numpy_s(call, tmp_path):
    first, second, third = (made(tmp_path / name, seed) for seed, name in enumerate("abc"))
    files = [f"{name}/{NAME}.{ending}" for name, ending in zip("abc", ("pkl", "csv", "pkl"), strict=True)]
    result = call(compare.main, *files, "--updates=2", "--out=out")
    assert (result.returncode, result.stderr) == (0, "")
    found = rows(tmp_path / "out" / "comparison.csv")
    for row, metrics in zip(found, (first, second, third), strict=True):
        column = metrics[:, 2]
        assert float(row["mean"]) == pytest.approx(column.mean(), rel=1e-6)
        assert float(row["ci95"]) == pytest.approx(1.96 * column.std() / np.sqrt(20), rel=1e-6)
        if metrics is not first:
            difference = column - first[:, 2]
            assert float(row["difference"]) == pytest.approx(difference.mean(), rel=1e-6)
            assert float(row["difference_ci95"]) == pytest.approx(1.96 * difference.std() / np.sqrt(20), rel=1e-6)
    assert (found[0]["difference"], found[0]["difference_ci95"]) == ("", "")
    assert [row["run"] for row in found] == files  # with folders, since two files have the same name
    assert "Metric on the same 20 tasks (shots 3, queries 3), +- 95 % confidence interval" in result.stdout
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_folders_of_runs_are_compared_after_the_reported_update(call, run_folder, tmp_path):
    experiment, random = small_runs.small(small_runs.SINUSOID, 1), np.random.default_rng(0)
    losses = [random.random((30, 12)) for _ in range(2)]
    folders = [shutil.copytree(run_folder, tmp_path / name) for name in ("first", "second")]
    for folder, metrics in zip(folders, losses, strict=True):
        write(Evaluation("loss", metrics[:, 0], metrics[:, 1:]), folder, 3, experiment.update_lr)
    write(Evaluation("loss", random.random(30), random.random((30, 11))), folders[0], 3, 0.5)  # another test
    result = call(compare.main, *folders, "--format=pdf")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Loss on the same 30 tasks (sinusoid, shots 3, queries 3)" in result.stdout
    _, row = rows(folders[0] / "comparison.csv")
    assert (row["run"], row["updates"]) == ("second", "10")
    assert float(row["difference"]) == pytest.approx((losses[1] - losses[0])[:, 11].mean(), rel=1e-6)
    assert (folders[0] / "comparison.pdf").exists()


def test_a_run_trained_with_other_shots_has_one_usual_test_or_several(call, run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "reptile")
    made(folder, 0, "test_ubs1_stepsize0.01")
    made(folder, 1, "test_ubs1_stepsize0.01_best")
    (test,) = comparison.load([str(folder)])
    assert (test.label, test.file.name) == ("reptile", "test_ubs1_stepsize0.01.pkl")
    made(folder, 2, "test_ubs5_stepsize0.01")
    names = "test_ubs1_stepsize0.01.pkl, reptile/test_ubs5_stepsize0.01.pkl"
    assert_refused(call(compare.main, "reptile"), f"reptile has several tests: name one of reptile/{names}")


@pytest.mark.parametrize("suffix", ["_best", "_ensemble5", "_zerohead"])
def test_a_folder_whose_only_test_is_unusual_is_labelled_so(run_folder, tmp_path, suffix):
    folders = [shutil.copytree(run_folder, tmp_path / name) for name in ("a", "b", "c/a")]
    for folder, ending in zip(folders, (suffix, "", suffix), strict=True):
        made(folder, 0, f"{NAME}{ending}")
    assert [test.label for test in comparison.load(list(map(str, folders[:2])))] == [f"a{suffix}", "b"]
    labels = [test.label for test in comparison.load([str(folders[0]), str(folders[2])])]
    assert labels == [f"{folders[0]}{suffix}", f"{folders[2]}{suffix}"]


def test_runs_on_the_user_s_own_images_are_compared_within_one_folder(call, monkeypatch, tmp_path):
    own, known = Experiment.of(datasource="folder"), Experiment.of(datasource="omniglot")
    monkeypatch.setattr(comparison, "_experiment", lambda folder: known if "omniglot" in folder.parts else own)
    for name in ("birds/a", "birds/b", "fish/a", "omniglot/a", "omniglot/c/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        made(tmp_path / name, 0, "test_ubs1_stepsize0.01", updates=10)
    assert call(compare.main, "birds/a", "birds/../birds/b").returncode == 0
    assert call(compare.main, "omniglot/a", "omniglot/c/a").returncode == 0
    where = f"lies below {tmp_path}/birds and fish/a/test_ubs1_stepsize0.01.pkl below {tmp_path}/fish"
    result = call(compare.main, "birds/a", "fish/a")
    assert_refused(result, f"birds/a/test_ubs1_stepsize0.01.pkl {where}, so their data may be others: put runs")


def test_a_name_without_an_ending_is_that_of_the_pkl(tmp_path):
    made(tmp_path / "a", 0)
    (test,) = comparison.load([str(tmp_path / "a" / NAME)])
    assert test.file.name == f"{NAME}.pkl"


def test_accuracies_are_shown_in_percent():
    first, second = ({"mean": 0.5, "ci95": 0.1, "difference": d, "difference_ci95": d} for d in (None, -0.025))
    assert comparison._texts(first, "accuracy") == ["50.00 +- 10.00", ""]
    assert comparison._texts(second, "accuracy") == ["50.00 +- 10.00", "-2.50 +- -2.50"]
    assert comparison._texts(second, "loss") == ["0.5000 +- 0.100", "-0.02500 +- -0.0250"]


def test_tasks_of_a_test_are_known_by_its_name(tmp_path):
    found = Evaluation("loss", np.ones(2), np.ones([2, 2]), transductive=False)
    conditions = Conditions(queries=15, ways=4, head="zero", tasks=2, split="val")
    path = write(found, tmp_path, 5, 1e-05, conditions.at("ensemble3"))
    assert path.name == "test_ubs5_stepsize1e-05_queries15_ways4_zerohead_tasks2_val_ensemble3_inductive.csv"
    assert of_tasks(path.stem) == (5, Conditions(queries=15, ways=4, split="val"))
    assert of_tasks("test_ubs1_stepsize0.4") == (1, Conditions())
    assert of_tasks("mine") is None


@pytest.mark.parametrize(
    ("name", "tasks", "message"),
    [
        ("test_ubs5_stepsize0.01", 20, "shots 5, not 3, queries 5, not 3; test both with the same flags"),
        (f"{NAME}_queries7", 20, "queries 7, not 3"),
        (f"{NAME}_ways2", 20, None),  # the other file does not say its ways
        (f"{NAME}_val", 20, "split val, not usual"),
        (f"{NAME}_tasks10", 10, "tasks 10, not 20"),
        (f"{NAME}_zerohead", 20, None),
        (f"{NAME}_inductive", 20, None),
        ("test_ubs3_stepsize0.4_best", 20, None),
    ],
)
def test_tests_of_other_tasks_are_refused(call, tmp_path, name, tasks, message):
    made(tmp_path / "a", 0)
    made(tmp_path / "b", 1, name, tasks)
    result = call(compare.main, f"a/{NAME}.pkl", f"b/{name}.pkl", "--updates=1")
    if message is None:
        assert result.returncode == 0
    else:
        assert_refused(result, f"b/{name}.pkl is a test on other tasks than a/{NAME}.pkl: {message}")


def test_what_cannot_be_compared_is_one_sentence(call, run_folder, tmp_path):
    made(tmp_path / "a", 0)
    for arguments, message in (
        ((), "runs is missing: --help says what it is"),
        ((f"a/{NAME}.pkl",), "say after how many updates to compare by --updates"),
        ((f"a/{NAME}.pkl", "--updates=5"), "has 4 updates: give --updates=4 or less"),
        (("nowhere",), "there is no nowhere.pkl with the metric of every task: make it by testing the run again"),
        (
            (run_folder,),
            "has no test with the metric of every task: make it by `python main.py --metatrain_iterations=1",
        ),
    ):
        assert_refused(call(compare.main, *arguments), message)
    made(tmp_path / "a", 0, f"{NAME}_best")
    assert_refused(call(compare.main, "a"), f"a has several tests: name one of a/{NAME}.pkl, a/{NAME}_best.pkl")


class Program:
    """Loading its pickle as usual would create a folder."""

    def __reduce__(self):
        return os.mkdir, ("made_by_the_pickle",)


@pytest.mark.parametrize(
    "contents",
    [b"", b"no pickle", pickle.dumps({"mses": Program()}), pickle.dumps([1]), pickle.dumps({"mses": np.ones(3)})],
)
def test_damaged_files_are_refused_and_run_no_program(tmp_path, monkeypatch, contents):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"{NAME}.pkl"
    file.write_bytes(contents)
    with pytest.raises(UserError, match=rf"{NAME}.pkl .*testing the run again"):
        comparison.load([str(file)])
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read(tmp_path, protocol):
    metrics = np.random.default_rng(0).random((3, 2), np.float32)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"mses": metrics}, protocol))
    (test,) = comparison.load([str(tmp_path / "a.pkl")])
    np.testing.assert_array_equal(test.metrics, metrics)


def test_runs_on_other_lists_of_classes_are_of_other_tasks(tmp_path):
    folders = []
    for name, classes in {"a": '["x"]', "b": '["y"]', "c": '["x"]'}.items():
        lists = tmp_path / f"{name}.json"
        lists.write_text(f'{{"train": {classes}}}')
        folders.append(tmp_path / "runs" / name)
        experiment = Experiment.of(datasource="folder", splits=str(lists))
        folders[-1].mkdir(parents=True)
        made(folders[-1], 0, "test_ubs1_stepsize0.01")
        Checkpoints(folders[-1], experiment, {}).save(1)
        lists.unlink()
    assert len(comparison.load([folders[0], folders[2]])) == 2
    with pytest.raises(UserError, match=r"is a test on other tasks than .*: splits [0-9a-f]{8}, not [0-9a-f]{8}; "):
        comparison.load(folders[:2])


def test_tests_say_of_which_iteration_they_are_and_old_ones_are_told(call, run_folder, tmp_path):
    experiment = small_runs.small(small_runs.SINUSOID, 1)
    latest = max(available(run_folder))
    folders = [shutil.copytree(run_folder, tmp_path / name) for name in ("old", "new")]
    for folder, iteration in zip(folders, (latest - 1, latest), strict=True):
        found = Evaluation("loss", np.ones(3), np.ones((3, 11)))
        write(found, folder, 3, experiment.update_lr, iteration=iteration)
        write(found, folder, 3, experiment.update_lr, Conditions(checkpoint="best"), iteration=1)
    result = call(compare.main, "old", "../" + tmp_path.name + "/new")
    assert result.returncode == 0
    [warning] = result.stderr.splitlines()  # none of a test that is meant to be of another checkpoint:
    assert call(compare.main, f"old/{NAME}_best.pkl", "--updates=1", "--out=best").stderr == ""
    assert f"old/{NAME}.pkl is a test of iteration {latest - 1}, but the run has {latest}: make it by `" in warning
    found = [(row["run"], row["iteration"]) for row in rows(tmp_path / "old" / "comparison.csv")]
    assert found == [("old", str(latest - 1)), ("new", str(latest))]


def test_a_run_that_is_named_by_a_dot_has_its_own_name(run_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(run_folder, tmp_path / "first")
    made(folder, 0)
    (tmp_path / "mine").symlink_to(folder)
    assert comparison.load([str(tmp_path / "mine")])[0].label == "mine"
    monkeypatch.chdir(folder)
    assert comparison.load(["."])[0].label == "first"
