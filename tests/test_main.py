"""`python main.py` from start to end: real runs, and small ones of every kind."""

import csv
import dataclasses
import pickle
import re
import shutil

import numpy as np
import pytest

from data_generators import progress
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import commands
from maml_tf.supervised.experiment import Experiment
from tests.command import NAME
from tests.data_generators.synthetic_images import tree, write
from tests.data_generators.synthetic_omniglot import snapshot

# Flags that leave little to compile and few tasks.
QUICK = ("--log=False", "--validation_interval=0", "--jit=false", "--meta_batch_size=2", "--metatrain_iterations=4")
SMALL_IMAGES = ("--datasource=omniglot", "--num_classes=2", "--num_filters=2")


def test_ctrl_c_saves_and_says_how_to_resume(real_run):
    assert real_run.stopped.returncode == 130
    done = real_run.kept[-1]
    assert 50 <= done < 1000
    saved, how_to_resume = real_run.stopped.stdout.splitlines()[-1].split(". ")
    assert saved == f"Stopped after {done} of 1000 iterations, which are saved"
    assert how_to_resume == "Run the same command again to resume."
    assert "Stopping after this step and saving; a second Ctrl-C stops at once." in real_run.stopped.stderr
    assert "Traceback" not in real_run.stopped.stderr


def test_same_command_resumes_trains_to_the_end_and_tests(real_run):
    assert real_run.finished.returncode == 0
    lines = real_run.finished.stdout.splitlines()
    assert f"Resuming from the checkpoint of iteration {real_run.kept[-1]}" in lines
    assert any(line.startswith("iteration 1000: validation loss after 10 updates ") for line in lines)
    assert "Testing the checkpoint of iteration 1000" in lines
    assert any(line.startswith("Loss on 600 test tasks") for line in lines)
    assert lines[-1] == f"Written to runs/{NAME}/test_ubs10_stepsize0.01.csv"
    assert available(real_run.folder) == list(range(550, 1001, 50))


def test_run_says_what_it_does_and_nothing_else(real_run):
    for name, value in dataclasses.asdict(Experiment.of(metatrain_iterations=1000)).items():
        assert f"  {name:21} {value}\n" in real_run.finished.stdout
    assert f"runs/{NAME}\n" in real_run.finished.stdout
    said = re.compile(
        r"(Training|Validation|Testing on test): [\d,]+ of [\d,]+ (step|task)s(, .* left)?(, loss .* -> .*)?"
    )
    assert all(said.fullmatch(line) for line in real_run.finished.stderr.splitlines())  # no line within the first 30 s


def test_progress_of_a_run_without_a_terminal_is_a_line_now_and_then(run_main, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0005)  # shorter than any part, even on a fast machine
    result = run_main(*QUICK, "--validation_interval=2", "--logdir=runs")
    lines = result.stderr.splitlines()
    assert "Training: 0 of 4 steps" in lines
    assert any(re.fullmatch(r"Testing on test: \d+ of 600 tasks(, .* left)?", line) for line in lines)
    assert any(re.fullmatch(r"Training: [24] of 4 steps, .* left, loss .* -> .*", line) for line in lines)


def table(path):
    header, *rows = csv.reader(path.read_text().splitlines())
    return header, np.array(rows, float)


def check_results(folder, name, tasks=600):
    """Asserts that the csv and the pkl are complete and agree; returns the means."""
    header, (means, stds, ci95) = table(folder / f"{name}.csv")
    assert header[:12] == [*(f"update{i}" for i in range(11)), "query_update0"]
    assert header[12:] == [f"{statistic}_{name}" for statistic in ("median", "diverged") for name in header[:12]]
    with open(folder / f"{name}.pkl", "rb") as file:
        figures = pickle.load(file)["mses"]
    assert figures.shape == (tasks, 11)
    np.testing.assert_allclose(means[:11], figures.mean(0), rtol=1e-5)
    np.testing.assert_allclose(ci95[:12], 1.96 * stds[:12] / np.sqrt(tasks), rtol=1e-5)
    np.testing.assert_allclose(means[12:23], np.median(np.where(np.isnan(figures), np.inf, figures), axis=0))
    return means


def test_results_are_written_as_in_the_original(real_run):
    means = check_results(real_run.folder, "test_ubs10_stepsize0.01")
    assert 0.5 < means[1] < 5
    assert list(real_run.folder.glob("events.*"))


def test_trained_run_is_tested_with_other_shots_and_step_size(run_main, real_run, tmp_path):
    folder = shutil.copytree(real_run.folder, tmp_path / "runs" / NAME)
    before = snapshot(folder)
    result = run_main(
        *("--logdir=runs", "--jit=false", "--train=False", "--test_set=False", "--test_iter=900"),
        *("--train_update_batch_size=10", "--update_batch_size=5", "--train_update_lr=0.01", "--update_lr=0.02"),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "Testing the checkpoint of iteration 900\n" in result.stdout
    assert "Loss on 600 val tasks" in result.stdout
    assert "K = 5, step size 0.02; " in result.stdout
    assert "trained with K = 10, 1 update" in result.stdout
    check_results(folder, "test_ubs5_stepsize0.02_val_iter900")
    after = snapshot(folder)
    assert {name: after[name] for name in before} == before


def test_finished_run_goes_straight_to_the_test_and_a_longer_one_resumes(run_main, real_run, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 50)
    folder = shutil.copytree(real_run.folder, tmp_path / "runs" / NAME)
    arguments = ("--logdir=runs", "--jit=false", "--log=False", "--validation_interval=0")
    result = run_main(*arguments, "--metatrain_iterations=1000")
    assert result.returncode == 0
    assert "Training" not in result.stderr
    assert "Testing the checkpoint of iteration 1000\n" in result.stdout
    result = run_main(*arguments, "--metatrain_iterations=1003")
    assert "Resuming from the checkpoint of iteration 1000\n" in result.stdout
    assert "Testing the checkpoint of iteration 1003\n" in result.stdout
    assert available(folder)[-2:] == [1000, 1003]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--baseline=oracle",), "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01oraclenonorm.pretrained"),
        (("--norm=batch_norm", "--stop_grad"), "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01stopgradbatchnorm"),
        (("--norm=layer_norm", "--num_updates=2"), "cls_5.mbs_2.ubs_10.numstep2.updatelr0.01layernorm"),
        (
            ("--pretrain_iterations=3", "--metatrain_iterations=0"),
            "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01nonorm.pretrained",
        ),
    ],
)
def test_sinusoid_in_every_way(run_main, tmp_path, monkeypatch, arguments, name):
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 50)
    result = run_main(*QUICK, *arguments, "--logdir=runs")
    assert result.returncode == 0, result.stderr
    check_results(tmp_path / "runs" / name, "test_ubs10_stepsize0.01", tasks=50)


def test_meta_learned_step_sizes_are_those_of_the_test(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 50)
    assert run_main(*QUICK, "--learn_update_lr=True", "--meta_lr=0.1", "--logdir=runs").returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01nonorm.learnlr"
    learned = check_results(folder, "test_ubs10_stepsize0.01", tasks=50)
    test = ("--learn_update_lr=True", "--meta_lr=0.1", "--logdir=runs", "--meta_batch_size=2", "--jit=false")
    run_main(*test, "--train=False", "--train_update_lr=0.01", "--update_lr=0.011")
    given = check_results(folder, "test_ubs10_stepsize0.011", tasks=50)
    assert learned[11] == given[11]
    assert abs(learned[1] - given[1]) > 1e-3


@pytest.mark.parametrize(
    "more",
    [
        ("--max_pool=True", "--stop_grad=True"),
        pytest.param(("--conv=False", "--num_filters=64"), marks=pytest.mark.slow),
    ],
)
def test_images(run_main, small_omniglot, tmp_path, monkeypatch, more):
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 20)
    result = run_main(*SMALL_IMAGES, *QUICK, *more, "--logdir=runs")
    assert result.returncode == 0, result.stderr
    assert "Accuracy in % on 20 test tasks" in result.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    means = check_results(folder, "test_ubs1_stepsize0.4", tasks=20)
    assert 0.3 <= means[3] <= 1


@pytest.mark.parametrize("has_test_split", [pytest.param(True, marks=pytest.mark.slow), False])
def test_own_images(run_main, tmp_path, monkeypatch, has_test_split):
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 20)
    splits = {"train/a": 16, "train/b": 16, "val/c": 16, "val/d": 16} | (
        {"test/e": 3, "test/f": 2} if has_test_split else {}
    )
    write(tmp_path / "mine", tree(splits, width=20, height=12))
    mine = ("--datasource=folder", "--data_dir=mine", "--num_classes=2", "--image_size=16", "--num_updates=1")
    network = "--num_filters=2" if has_test_split else "--conv=False"  # less to compile
    result = run_main(*QUICK, *mine, network, "--stop_grad")
    assert result.returncode == 0, result.stderr
    split = "test" if has_test_split else "val"
    assert f"Accuracy in % on 20 {split} tasks" in result.stdout
    assert ("There is no test split, so the test uses the validation split" in result.stdout) != has_test_split
    (folder,) = (tmp_path / "logs" / "folder" / "mine").iterdir()
    assert folder.name.endswith(".images16x3")
    check_results(folder, "test_ubs1_stepsize0.01", tasks=20)
