import csv
import functools
import shutil

import numpy as np
import pytest

from data_generators.sinusoid import AMPLITUDE
from maml_tf.runs.published import original_sinusoid
from maml_tf.supervised import build, evaluation
from maml_tf.supervised.build import load_run
from maml_tf.supervised.experiment import Experiment
from scripts import sinusoid_table
from scripts.figures.sinusoid_learners import DIVERGED, STEP_SIZES, statistics
from tests.scripts.conftest import ITERATIONS, SEEDS, TASKS


@pytest.fixture(scope="module")
def rows(error_rows):
    return error_rows


@pytest.fixture
def table(call, rows, learners, monkeypatch):
    """table(*arguments) calls the command with numbers that have been computed already."""
    monkeypatch.setattr("scripts.figures.sinusoid_learners.load_learners", lambda *arguments: learners)
    monkeypatch.setattr("scripts.figures.sinusoid_learners.error_rows", lambda learners: rows)
    return functools.partial(call, sinusoid_table.main)


def evaluate(experiment, logdir, shots, split="test", step_size=None):
    """The errors as the test of main.py computes them."""
    run = load_run(experiment, logdir, shots=shots, jit=False)
    draw = functools.partial(run.data.evaluation_tasks, split)
    return evaluation.evaluate(run.maml, draw, num_tasks=TASKS, num_updates=10, step_size=step_size)


def chosen(rows, **keys):
    keys = {"split": "test", "points": "query"} | keys
    return [row for row in rows if all(row[name] == value for name, value in keys.items())]


def column(rows, name, **keys):
    return [row[name] for row in chosen(rows, **keys)]


@pytest.mark.parametrize(("shots", "seed"), [(5, 0), (10, 3), (20, 0)])
def test_errors_are_those_of_the_test_of_main(rows, logdir, shots, seed):
    found = evaluate(Experiment.of(metatrain_iterations=ITERATIONS, seed=seed), logdir, shots)
    keys = {"learner": "MAML", "shots": shots, "seed": seed}
    assert column(rows, "updates", **keys) == list(range(11))
    np.testing.assert_allclose(column(rows, "mse", **keys), found.mean, rtol=1e-5)
    np.testing.assert_allclose(column(rows, "ci95", **keys), found.ci95, rtol=1e-5)
    np.testing.assert_allclose(column(rows, "mse", **keys, points="support"), found.support_mean, rtol=1e-5)


def test_oracle_is_given_amplitude_and_phase(rows, logdir):
    experiment = Experiment.of(pretrain_iterations=ITERATIONS, metatrain_iterations=0, baseline="oracle")
    found = evaluate(experiment, logdir, 10)
    assert column(rows, "mse", learner="oracle", shots=10)[0] == pytest.approx(found.mean[0], rel=1e-5)
    assert build.load(experiment, None).source.input_shape == (3,)


def test_step_size_is_tuned_on_validation_tasks_by_the_error_after_10_updates(rows, logdir):
    experiment = Experiment.of(pretrain_iterations=ITERATIONS, metatrain_iterations=0)
    last = chosen(rows, learner="pretrained", shots=5, split="val", updates=10)
    assert [row["step_size"] for row in last] == list(STEP_SIZES)
    best = min(last, key=lambda row: row["mse"])["step_size"]
    found = evaluate(experiment, logdir, 5, "val", step_size=best)
    assert min(row["mse"] for row in last) == pytest.approx(found.mean[-1], rel=1e-5)
    tuned = chosen(rows, learner="pretrained, tuned", shots=5)
    assert {row["step_size"] for row in tuned} == {best}
    found = evaluate(experiment, logdir, 5, step_size=best)
    np.testing.assert_allclose([row["mse"] for row in tuned], found.mean, rtol=1e-5)
    assert {row["step_size"] for row in chosen(rows, learner="pretrained")} == {0.01}


def test_mean_over_seeds_and_the_authors_numbers_are_beside_them(rows):
    keys = {"learner": "MAML", "shots": 20}
    by_seed = [column(rows, "mse", **keys, seed=seed) for seed in SEEDS]
    np.testing.assert_allclose(column(rows, "mse", **keys, seed="mean"), np.mean(by_seed, 0), rtol=1e-9)
    original = original_sinusoid()["maml"].mean
    assert column(rows, "mse", learner="original MAML", shots=10) == list(original[1:])
    assert column(rows, "mse", learner="original MAML", shots=10, points="support") == [original[0]]


def test_statistics_by_hand():
    assert AMPLITUDE[1] ** 2 == DIVERGED
    found = statistics(np.array([[1.0, 2.0, np.nan, 30.0], [3.0, 2.0, 5.0, np.inf]]))
    assert np.isnan(found["mse"])
    # Means over seeds of the errors, which are capped at 25: 2, 2, 15, 25.
    assert found["capped_mse"] == 11
    assert found["capped_ci95"] == pytest.approx(1.96 * np.sqrt((81 + 81 + 16 + 196) / 4) / 2)
    assert (found["median"], found["diverged"]) == (4, 3)
    usual = statistics(np.array([[1.0, 3.0]]))
    assert (usual["mse"], usual["ci95"]) == (2, pytest.approx(1.96 / np.sqrt(2)))
    assert (usual["capped_mse"], usual["capped_ci95"]) == (usual["mse"], usual["ci95"])
    assert usual["diverged"] == 0


def test_table_is_printed_and_written(table, rows, tmp_path):
    result = table("--csv=deep/errors.csv")
    assert result.returncode == 0, result.stderr
    with open(tmp_path / "deep" / "errors.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(rows)
    for line, row in zip(written, rows, strict=True):
        assert line.keys() == row.keys()
        assert line["learner"] == row["learner"]
        assert line["seed"] == ("" if row["seed"] is None else str(row["seed"]))
        assert float(line["mse"]) == pytest.approx(row["mse"], rel=1e-6, nan_ok=True)
    lines = result.stdout.splitlines()
    titles = next(line for line in lines if line.startswith("K = 10"))
    maml = next(line for line in lines[lines.index(titles) :] if line.startswith("MAML, seed 0"))
    first, last = (column(rows, "mse", learner="MAML", shots=10, seed=0)[update] for update in (0, 10))
    assert f"{first:.4g}"[:5] in maml[titles.index("0 updates") : titles.index("1 update")]
    assert f"{last:.4g}"[:5] in maml[titles.index("10 updates") : titles.index("median")]
    assert any(line.startswith("original MAML") and "3.091 +- 0.251*" in line for line in lines)
    assert len([line for line in lines if line.startswith("MAML, mean over seeds")]) == 3


def test_nan_is_printed_as_such(table, rows, monkeypatch):
    diverged = [row | ({"mse": np.nan, "ci95": np.nan} if row["learner"] == "oracle" else {}) for row in rows]
    monkeypatch.setattr("scripts.figures.sinusoid_learners.error_rows", lambda learners: diverged)
    lines = table().stdout.splitlines()
    assert all("nan +- nan" in line for line in lines if line.startswith("oracle"))


def without(logdir, tmp_path, pattern):
    """A copy of the runs, without those whose names match a pattern."""
    copy = tmp_path / "copy"
    shutil.copytree(logdir, copy, ignore=shutil.ignore_patterns(pattern))
    return copy


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("*nonorm*", "`python main.py --metatrain_iterations=200 --logdir="),
        (
            "*.01nonorm.pretrained",
            "`python main.py --pretrain_iterations=200 --metatrain_iterations=0 --logdir=",
        ),
        (
            "*oracle*",
            "`python main.py --baseline=oracle --pretrain_iterations=200 --metatrain_iterations=0 --logdir=",
        ),
    ],
)
def test_a_missing_run_is_one_sentence_with_the_command_that_makes_it(call, logdir, tmp_path, missing, command):
    folder = without(logdir, tmp_path, missing)
    result = call(sinusoid_table.main, f"--logdir={folder}", f"--iterations={ITERATIONS}")
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no trained run in ")
    assert command in line


def test_a_seed_that_was_not_trained_and_a_run_that_has_not_come_to_its_end(call, logdir):
    arguments = sinusoid_table.main, f"--logdir={logdir}", "--seed=0", "--seed=1"
    result = call(*arguments, f"--iterations={ITERATIONS}")
    assert result.returncode == 2
    assert "--metatrain_iterations=200 --seed=1" in result.stderr
    result = call(*arguments)
    assert result.returncode == 2
    assert "has a checkpoint of iteration 200 but none of 70000: finish it by `python main.py --logdir" in result.stderr


def test_bad_flags_and_a_csv_that_cannot_be_written(call, table, tmp_path):
    assert call(sinusoid_table.main, "--seed=first").returncode == 2
    assert call(sinusoid_table.main, "--unknown").returncode == 2
    (tmp_path / "file").write_text("mine")
    result = table(f"--csv={tmp_path}/file/table.csv")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write")
    assert (tmp_path / "file").read_text() == "mine"
