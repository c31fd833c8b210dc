"""The command that runs a row of the paper's results: what it lists, and the line that it ends with."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maml_tf.runs import process
from maml_tf.supervised.build import run_folder
from maml_tf.supervised.experiment import Experiment
from scripts import reproduce
from scripts.results import RESULTS
from scripts.rows import Curve, Ours, Result


@dataclasses.dataclass(frozen=True)
class Stub(Result):
    """A result whose run takes no time: each call does two iterations and returns the next of `codes`."""

    where: Path
    codes: Iterator[int]
    finished: list[int]
    total = 4

    def command(self, options):
        return ["python", "stub.py", *options.flags("iterations", "logdir", "data_dir")]

    def run(self, options):
        self.finished[0] = min(self.finished[0] + 2, options.iterations or self.total)
        return next(self.codes)

    def folder(self, options):
        return self.where

    def done(self, options):
        return self.finished[0]

    def ours(self, options):
        return Ours("test", "2.0 +- 0.5")

    def curve(self, options):
        return Curve("test", ["0", "1"], ["3.0", "2.0"], ["0.6", "0.5"])


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """stub(*exit codes) adds a result whose calls return these exit codes."""
    monkeypatch.setattr(reproduce, "commit", lambda: "abc1234")
    monkeypatch.setattr(reproduce, "processor", lambda: "a processor")
    monkeypatch.setattr(reproduce.process, "available_cores", lambda: 2)

    def add(*codes):
        monkeypatch.setitem(RESULTS, "stub", Stub("stub", "A stub", "1.0", tmp_path, iter(codes), [0]))

    return add


def test_listing(call, monkeypatch, tmp_path):
    result = call(reproduce.main)
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert set(lines) == {"row", *RESULTS}
    assert lines["omniglot_20way_1shot"].endswith("  no run yet")
    folder = tmp_path / run_folder(Experiment.of(datasource="omniglot"))
    folder.mkdir(parents=True)
    for iteration in (3, 20):
        (folder / f"model{iteration}.index").touch()
    line = next(line for line in call(reproduce.main).stdout.splitlines() if line.startswith("omniglot_5way_1shot "))
    assert "98.7 +- 0.4" in line
    assert "20 of 60000" in line
    assert str(run_folder(Experiment.of(datasource="omniglot"))) in line


def test_incomplete_run_is_interrupted_resumed_and_described(call, stub):
    stub(130, 0, 0)
    result = call(reproduce.main, "stub", "--iterations=3")
    assert (result.returncode, result.stdout) == (130, "A stub: python stub.py --iterations=3\n")
    result = call(reproduce.main, "stub", "--iterations=3")
    assert result.returncode == 0
    *_, header, rule, line = result.stdout.splitlines()
    assert header == "| run | published | ours | on | iterations | command | commit | duration |"
    assert rule.count("---") == 8
    assert "\nFor docs/results.csv:\nstub,A stub,,,3.0 2.0,0.6 0.5,0 1,test,last,3,0,python stub.py" in result.stdout
    cells = line.strip("| ").split(" | ")
    assert cells[:-1] == [
        *("A stub", "1.0", "2.0 +- 0.5", "test", "3 of 4; `python stub.py` resumes it"),
        *("`python stub.py --iterations=3`", "abc1234"),
    ]
    assert cells[-1].endswith(" s")
    last = call(reproduce.main, "stub", "--logdir=logs").stdout.splitlines()[-1]
    assert "| 4 | `python stub.py --logdir=logs` | abc1234 |" in last


def test_failed_run_is_not_described(call, stub, tmp_path):
    stub(2)
    result = call(reproduce.main, "stub")
    assert (result.returncode, result.stdout) == (2, "A stub: python stub.py\n")
    assert list(tmp_path.iterdir()) == []


def test_effort_of_all_sessions(tmp_path):
    def note(*session):
        reproduce.note(tmp_path, reproduce.Session(*session))

    assert reproduce.effort(tmp_path, 0) == (0, [], False)
    note(0, 5, 10.0, "a")
    note(5, 8, 2.5, "b")
    assert reproduce.effort(tmp_path, 8) == (12.5, ["a", "b"], True)
    note(10, 12, 1.0, "b")  # the session from 8 to 10 was killed
    assert reproduce.effort(tmp_path, 12) == (13.5, ["a", "b"], False)
    note(0, 2, 1.5, "c")  # the run began again
    assert reproduce.effort(tmp_path, 2) == (1.5, ["c"], True)
    (tmp_path / reproduce.SESSIONS).write_text("{")
    assert reproduce.effort(tmp_path, 2) == (0, [], False)
    reproduce.note(tmp_path / "nowhere", reproduce.Session(0, 1, 1.0, "a"))
    assert not (tmp_path / "nowhere").exists()


def test_a_real_row_is_trained_tested_and_listed(call, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)  # can only be done once in a process
    result = call(reproduce.main, "sinusoid_10shot_maml", "--iterations=3", "--logdir=runs")
    assert result.returncode == 0, result.stderr
    command = "python main.py --metatrain_iterations=3 --logdir=runs"
    assert result.stdout.startswith(f"sinusoid, K = 10, MAML: {command}\n")
    assert "original MAML" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("| sinusoid, K = 10, MAML | 0.384 +- 0.035 | ")
    assert f"| 3 of 70,000; `python main.py --logdir=runs` resumes it | `{command}` |" in last
    assert "not all sessions" not in last
    line = next(line for line in call(reproduce.main, "--logdir=runs").stdout.splitlines() if "10shot_maml" in line)
    assert "3 of 70000" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("omniglot_6way",), "there is no row 'omniglot_6way': choose one of omniglot_5way_1shot, omniglot_5way_5shot"),
        (("omniglot_5way_1shot", "--iterations=0"), "--iterations must be at least 1, not 0"),
        (("omniglot_5way_1shot", f"--iterations={2**31}"), "--iterations must be at most 2147483647, not 2147483648"),
        ((f"--logdir={'a' * 300}",), "File name too long"),
        (("sinusoid_10shot_maml", "sinusoid_10shot_oracle"), "only --verify takes several rows"),
        (("--verify", "omniglot_6way"), "the record has no row 'omniglot_6way': choose one of sinusoid_10shot_maml,"),
        (("--verify", "--write_results"), "--verify and --write_results do different things: give one of them"),
        (("--write_results", "sinusoid_10shot_maml"), "from the record alone: leave out sinusoid_10shot_maml"),
        (("--write_results", "--logdir=a", "--iterations=3"), "the record alone: leave out --logdir=a --iterations=3"),
        (("--write_results", "--data_dir=a"), "the record alone: leave out --data_dir=a"),
        (("--verify", "--iterations=3"), "--verify tests after the iterations that the record names: leave out --it"),
        (("miniimagenet_5way_1shot", "--data_dir=nowhere"), "miniImagenet"),
        (("miniimagenet_5way_1shot_fine_tuning", "--data_dir=nowhere"), "miniImagenet"),
    ],
)
def test_mistakes(call, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)
    result = call(reproduce.main, *arguments)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("contents", ["[1]", '[{"start": "0", "end": 1, "seconds": 1, "commit": ""}]', "{}", "[null]"])
def test_sessions_that_are_damaged_are_none(tmp_path, contents):
    (tmp_path / reproduce.SESSIONS).write_text(contents)
    assert reproduce.effort(tmp_path, 1) == (0, [], False)


@pytest.mark.slow
def test_a_row_of_one_task_runs_to_its_end(tmp_path):
    """It trains and tests with other threads, which a process can set only once. There is no MAML to test."""
    command = [sys.executable, "-m", "scripts.reproduce", "point_navigation_oracle", "--iterations=1"]
    result = subprocess.run(
        [*command, f"--logdir={tmp_path}"], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "maml is left out: no trained policy in " in result.stdout
    assert "| 2D navigation, oracle | -2.3 +- 0.1 | " in result.stdout
    assert "| 40 goals, 0 updates | 1 of 500;" in result.stdout
