"""Weights tested against the record: what is the same, what differs, and what cannot be tested."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import main
from data_generators.errors import UserError
from maml_tf.runs import process
from maml_tf.supervised import build
from scripts import record, reproduce, verify
from scripts.record import Line, Number
from scripts.results import RESULTS
from scripts.rows import Options
from tests.scripts.conftest import ITERATIONS

ROOT = Path(__file__).parents[2]
LINE = Line("toy", "a toy", ours="99.17 -63.4 9.2e9 nan", ci95="0.37 9.6 1.8e10 -", updates="0 1 5 10")


@pytest.mark.parametrize(
    ("update", "mean", "half_widths", "verdict", "differs"),
    [
        ("0", 99.1667, 0, "ok", False),
        ("0", 99.175, 0, "ok", False),  # a tie may be rounded either way
        ("0", 99.1333, 0, "differs by 0.037", True),
        ("1", -63.44, 2, "ok", False),
        ("1", -70.4, 2, "ok, differs by 7", False),
        ("1", -44.19, 2, "differs by 19", True),
        ("1", -63.5, 0, "differs by 0.1", True),
        ("5", 9.24e9, 0, "ok", False),
        ("5", 9.3e9, 0, "differs by 1e+08", True),
        ("10", np.nan, 0, "ok", False),
        ("10", 1.0, 0, "differs by inf", True),
        ("0", np.nan, 0, "differs by inf", True),
    ],
)
def test_a_number_may_differ_by_its_rounding_and_a_return_by_its_interval(update, mean, half_widths, verdict, differs):
    checked = verify.compare(
        LINE, {update: (mean, float(LINE.ours_by_update[update].ci95.replace("-", "inf")))}, half_widths
    )
    assert (checked.update, checked.verdict, checked.differs) == (update, verdict, differs)


def test_the_largest_difference_is_named_otherwise_the_last_update():
    same = {"0": (99.17, 0.37), "1": (-63.4, 9.6)}
    assert verify.compare(LINE, same, 2)[1:] == ("1", Number("-63.4", "9.6"), "ok", False)
    checked = verify.compare(LINE, {"0": (90.0, 0.5), "1": (-63.9, 9.6), "5": (9.2e9, 1.8e10)})
    assert checked[1:] == ("0", Number("90.00", "0.50"), "differs by 9.2", True)


@pytest.mark.parametrize(
    ("update", "ci95", "half_widths", "verdict"),
    [
        ("0", 0.3749, 0, "ok"),
        ("0", 0.38, 0, "the interval differs by 0.01"),
        ("0", np.nan, 0, "the interval differs by inf"),
        ("1", 12.0, 2, "ok"),  # a return's interval, which may differ as returns do
        ("10", 3.0, 0, "ok"),  # the record has none
    ],
)
def test_an_interval_may_differ_by_its_rounding_where_numbers_must_agree(update, ci95, half_widths, verdict):
    checked = verify.compare(LINE, {update: (float(LINE.ours_by_update[update].mean), ci95)}, half_widths)
    assert (checked.verdict, checked.differs) == (verdict, verdict != "ok")


@pytest.fixture
def runs(monkeypatch, built_once, logdir, tmp_path):
    """A folder with the small runs of sinusoids where `verify` looks for them; all of its tests use the same MAML."""
    monkeypatch.setattr(build, "build", built_once)
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)  # can only be done once in a process
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "sinusoid").symlink_to(logdir)
    return tmp_path / "all"


def test_a_run_is_compared_with_what_its_test_wrote(call, monkeypatch, runs):
    flags = [f"--metatrain_iterations={ITERATIONS}", "--seed=3"]
    line = " ".join(["python main.py", *flags])
    assert main.main(["main.py", *flags, "--train=False", f"--logdir={runs / 'sinusoid'}"]) == 0
    folder = runs / "sinusoid" / main.experiments(main.parse(["main.py", *flags]))[0].name
    monkeypatch.setattr(type(RESULTS["sinusoid_10shot_maml"]), "folder", lambda *arguments: folder)
    split, updates, means, ci95s = RESULTS["sinusoid_10shot_maml"].curve(Options())
    texts = {"ours": " ".join(means), "ci95": " ".join(ci95s), "updates": " ".join(updates), "split": split}
    made = Line("toy", "MAML", command=line, iterations=str(ITERATIONS), seed="3", **texts)
    wrong = made._replace(row="other", ours=" ".join([*means[:2], f"{float(means[2]) + 0.002:.3f}", means[3]]))
    absent = made._replace(row="absent", command="python main.py --seed=77")
    fewer = made._replace(row="fewer", iterations="100")
    seed = made._replace(command="python main.py --seed=78")  # another line of the same row
    monkeypatch.setattr(verify, "read", lambda: [made, seed, wrong, absent, fewer, Line(run="a picture")])

    result = call(reproduce.main, "--verify", "toy", f"--logdir={runs}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].endswith(f"  skipped: not in {runs}/")
    assert f"{means[3]} +- {ci95s[3]}  {means[3]} +- {ci95s[3]}  ok" in result.stdout
    result = call(reproduce.main, "--verify", f"--logdir={runs}")
    assert result.returncode == 1
    assert "ot tested" not in result.stdout  # lines without weights are only listed if named
    verdicts = {line.split()[0]: line for line in reversed(result.stdout.splitlines()) if line}
    assert verdicts["toy"].endswith("  ok")
    assert verdicts["other"].split()[2] == "5"
    assert "differs by 0.002" in verdicts["other"]
    for row in ("absent", "fewer"):
        assert verdicts[row].endswith(f"skipped: not in {runs}/")

    result = call(reproduce.main, "--verify", "toy", "fewer", "absent", f"--logdir={runs}")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (1, "Not tested: fewer, absent")
    result = call(reproduce.main, "--verify", "--logdir=nowhere")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (1, "Nothing was tested")

    shutil.copytree(folder, runs / "best" / "sinusoid" / folder.name / "best")
    best = made._replace(checkpoint="best")
    assert verify.check(best, str(runs / "best")).verdict == "ok"
    assert verify.check(made, str(runs / "best")).verdict == f"skipped: not in {runs}/best/"


def test_runs_without_data_or_number_are_skipped(monkeypatch, runs, capsys):
    def missing(*arguments):
        raise UserError("no such folder")

    settings = {"command": f"python main.py --metatrain_iterations={ITERATIONS}", "iterations": str(ITERATIONS)}
    line = Line("toy", "MAML", ours="1.0", ci95="0.1", updates="1", split="test", **settings)
    assert verify.check(line._replace(split="new"), str(runs)).verdict == "skipped: no data"
    monkeypatch.setattr(build, "load", missing)
    assert verify.check(line, str(runs)).verdict == "skipped: no data"
    assert capsys.readouterr().out == "toy: no such folder\n"
    assert verify.check(line._replace(ours="", ci95=""), "runs")[1:] == ("1", None, "skipped: not in runs/", False)
    authors = line._replace(command=f"{line.command} --logdir=FOLDER")
    assert verify.check(authors, str(runs)).verdict == "skipped: the authors' weights are not here"
    others = line._replace(command=f"{line.command} --test_queries=15 --test_head=zero --train=False")
    assert verify.check(others, str(runs)).verdict == "skipped: its test has --test_queries, --test_head"
    baseline = line._replace(command="python -m scripts.baselines --shots=1")
    assert verify.check(baseline, "runs").verdict.startswith("skipped: ")


def test_a_line_whose_tasks_diverged_after_every_update_is_skipped(monkeypatch, runs):
    """A step size of 5 makes the tasks diverge."""
    line = Line("toy", "MAML", ours="nan", ci95="-", updates="10", split="test", iterations=str(ITERATIONS), seed="3")
    training = f"--metatrain_iterations={ITERATIONS} --seed=3 --train_update_lr=0.01"
    line = line._replace(command=f"python main.py {training} --update_lr=5")
    assert verify.check(line, str(runs))[1:] == ("10", None, "skipped: tasks diverged after every update", False)


def test_returns_of_a_random_policy_are_those_of_the_record():
    checked = verify.check(record.of_row(record.read(), "point_navigation_random"), "nowhere")
    assert checked.verdict.startswith("ok")
    assert checked.now is not None


def test_policies_that_were_not_trained_are_skipped():
    for row in ("point_navigation_maml", "point_navigation_oracle", "point_navigation_maml_trpo"):
        checked = verify.check(record.of_row(record.read(), row), "nowhere")
        assert checked.verdict == "skipped: not in nowhere/"


@pytest.mark.slow
@pytest.mark.parametrize("row", ["half_cheetah_velocity_oracle", "half_cheetah_direction_maml_tanh"])
def test_policies_in_runs_are_those_of_the_record(row):
    checked = verify.check(record.of_row(record.read(), row), str(ROOT / "runs"))
    assert checked.verdict.startswith("ok")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("MAML_TEST_DATA"), reason="MAML_TEST_DATA names no folder with the real data")
def test_omniglot_in_runs_is_that_of_the_record():
    line = record.of_row(record.read(), "omniglot_5way_1shot")
    checked = verify.check(line, str(ROOT / "runs"), os.path.join(os.environ["MAML_TEST_DATA"], "omniglot"))
    assert checked[2:] == (Number("99.17", "0.37"), "ok", False)
