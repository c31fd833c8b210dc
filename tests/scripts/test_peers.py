"""The benchmark in turns: peers compute the same meta-gradient, and a commit is compared with today's files."""

import importlib.util
import runpy
import subprocess
import sys

import numpy as np
import pytest

from data_generators.errors import UserError
from scripts import benchmark, benchmark_turns
from scripts import benchmark_record as record
from scripts.benchmark import Workload
from scripts.peers import problem as problems
from scripts.served import Served

TINY = {"num_filters": 2, "meta_batch_size": 4}
SETTINGS = {
    "strides": {"datasource": "omniglot", **TINY},
    "pooling": {"datasource": "cifar_fs", "num_updates": 2, **TINY},
    "dense, first order": {"datasource": "omniglot", "conv": False, "stop_grad": True, "meta_batch_size": 4},
    "sinusoid": {"datasource": "sinusoid"},
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name != "sinusoid")) for name in SETTINGS]
)
def path(request, tmp_path_factory):
    """The file of a problem."""
    found = tmp_path_factory.mktemp("problem") / "problem.npz"
    with pytest.MonkeyPatch.context() as patch:

        def run_here(line, **how):
            """Does what the subprocess does, but in this process, where TensorFlow is loaded already."""
            python, flag, module, *arguments = line
            assert (python, flag) == (sys.executable, "-m")
            patch.setattr(sys, "argv", [module, *arguments])
            patch.delitem(sys.modules, module)  # so that it runs again
            runpy.run_module(module, run_name="__main__")
            return subprocess.CompletedProcess(line, 0)

        patch.setattr(subprocess, "run", run_here)
        benchmark_turns.problem(found, SETTINGS[request.param], 2)
    return found


def test_a_problem_has_what_a_step_needs(path):
    problem = problems.read(path)
    assert problem.checked == 2
    assert problem.weights.keys() == problem.gradient.keys()
    for name, weight in problem.weights.items():
        assert (weight.dtype, problem.gradient[name].dtype) == (np.float32, np.float64)
        assert weight.shape == problem.gradient[name].shape
    assert not any(name.endswith("bias") for name in problem.weights if problem.facts["norm"] and "output" not in name)
    support_x, support_y, *_ = problem.tasks
    examples = (problem.facts["classes"] or 1) * problem.facts["shots"]
    assert support_x.shape[1] == support_y.shape[1] == examples
    double = problem.to_check()
    assert len(double.tasks[0]) == 2
    assert {values.dtype for values in (double.tasks[0], *double.weights.values())} == {np.dtype(np.float64)}


@pytest.mark.slow
@pytest.mark.parametrize("who", benchmark_turns.PEERS)
def test_peers_have_our_meta_gradient(path, who):
    peer = benchmark_turns.PEERS[who]
    if importlib.util.find_spec(peer.package) is None:
        pytest.skip(f"{peer.package} is not installed")
    if peer.way == "scan" and problems.read(path).facts["classes"]:
        pytest.skip("the loop is of sinusoids")
    if peer.way == "map" and len(problems.read(path).tasks[0]) % 2:
        pytest.skip("devices have equal shares")
    with benchmark_turns.served_peer(peer, path, 2) as served:
        assert served.first["difference"] < 1e-10
        assert served.ask({"steps": 2})["ms"] > 0
        assert served.ask({"steps": 1})["peak_mb"] > 50


def test_difference_of_gradients_is_relative_and_of_the_worst_variable():
    ours = {"a": np.array([3.0, 4.0]), "b": np.array([1e-6])}
    assert problems.difference({"a": np.array([3.0, 4.0]), "b": np.array([1.5e-6])}, ours) == pytest.approx(0.5)
    assert problems.difference(ours, ours) == 0


class Fake:
    """The process of a peer, or of this project, that answers at once."""

    off = 1e-6

    def __init__(self, line, environment):
        self.name = line[0]
        self.first = {"version": "some 1.0", "setting": "1 thread", "difference": self.off}

    def ask(self, what):
        return {"ms": 2.0 if "peers" in self.name else 1.0, "peak_mb": 100.0}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def fake(monkeypatch):
    """Replaces processes, and skips writing the file of a problem."""
    monkeypatch.setattr(benchmark_turns, "Served", Fake)
    monkeypatch.setattr(benchmark_turns, "problem", lambda *given: None)
    monkeypatch.setattr(benchmark_turns.importlib.util, "find_spec", lambda name: name == "torch")
    monkeypatch.setattr(benchmark_turns.process, "available_cores", lambda: 2)
    return Fake


def test_turns_with_peers_are_printed_and_written(fake, call, tmp_path):
    path = tmp_path / "peers.csv"
    flags = "--peers", "--turns=3", f"--csv={path}", "--workload=sinusoid", "--workload=training_loop"
    result = call(benchmark.main, *flags)
    assert result.returncode == 0, result.stderr
    first, titles, *lines = result.stdout.splitlines()
    assert first == "jax is not installed and left out: pip install -r requirements/peers.txt"
    assert titles.split()[:3] == ["workload", "who", "ms"]
    assert lines[0].split()[:4] == ["sinusoid", "ours", "1", "1.00"]
    assert [line.split("  ")[1].strip() for line in lines[1:5]] == [w for w in benchmark_turns.PEERS if "PyTorch" in w]
    assert lines[5:] == ["training_loop: nothing to compare with"]
    rows = record.read(path)
    assert [row["who"] for row in rows[:2]] == ["ours", "PyTorch, vmap"]  # they take turns
    assert [row["turn"] for row in rows] == [turn for turn in range(3) for _ in range(5)]
    # Another workload adds its rows; the same workload replaces its rows.
    assert call(benchmark.main, *flags[:1], "--turns=1", flags[2], "--workload=omniglot_5way_1shot").returncode == 0
    assert call(benchmark.main, *flags[:1], "--turns=1", *flags[2:4]).returncode == 0
    assert [row["workload"] for row in record.read(path)] == 5 * ["sinusoid"] + 5 * ["omniglot_5way_1shot"]


def test_another_meta_gradient_ends_the_command(fake, call, monkeypatch):
    for off in (2e-4, float("nan")):
        monkeypatch.setattr(fake, "off", off)
        result = call(benchmark.main, "--peers", "--workload=sinusoid")
        assert result.returncode == 2
        assert f"sinusoid: the meta-gradient of PyTorch, vmap is not ours, but {off:.1e} of it away" in result.stderr


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--peers", "--against=HEAD"], "--peers and --against are two comparisons"),
        (["--peers", "--jit=true"], "leave out --task_axis and --jit"),
        (["--against=no_such_commit"], "--against=no_such_commit is no commit that git can check out here"),
        (["--peers", "--turns=0"], "--turns must be at least 1"),
    ],
)
def test_mistakes_are_one_sentence(call, flags, complaint):
    result = call(benchmark.main, *flags)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert complaint in result.stderr


TOY = """
import csv, sys
flags = dict(flag.removeprefix("--").split("=") for flag in sys.argv[1:])
if flags["workload"] == "new":
    sys.stderr.write("error: flag --workload=new: value should be one of <step>")
    sys.exit(2)
with open(flags["csv"], "w") as file:
    csv.writer(file).writerows([["ms_per_step", "peak_mb", "first_step_seconds"], [MS, flags["steps"], ""]])
"""


def test_against_a_commit_of_a_tiny_repository(tmp_path, monkeypatch, capsys):
    """Commit and current files are each measured by their own command; a workload that the commit lacks is left out."""
    repository, script = tmp_path / "clone", tmp_path / "clone" / "scripts" / "benchmark.py"
    script.parent.mkdir(parents=True)

    def git(*arguments):
        identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True
        )

    git("init")
    script.write_text(TOY.replace("MS", "3.0"))
    git("add", ".")
    git("commit", "-m", "slow")
    script.write_text(TOY.replace("MS", "1.5"))  # the current files
    monkeypatch.setattr(benchmark_turns, "ROOT", repository)
    path = tmp_path / "against.csv"
    workloads = {"old": Workload({}, 40), "new": Workload({}, 40)}
    assert benchmark_turns.run(workloads, 2, path, None, "HEAD") == 0
    rows = record.read(path)
    assert [(row["workload"], row["who"], row["turn"], row["ms"]) for row in rows] == [
        ("old", who, turn, ms) for turn in (0, 1) for who, ms in (("HEAD", 3.0), ("ours", 1.5))
    ]
    assert {row["peak_mb"] for row in rows} == {20.0}  # here, the steps: half of them in each block
    assert "new: nothing to compare with" in capsys.readouterr().out
    assert git("worktree", "list").stdout.count("\n") == 1  # no other worktree is left
    assert record.against_table(rows)[1] == ["`old`", "3", "1.5", "2.00 (2.00, 2.00)", "20, 20", "-, -"]


@pytest.mark.slow
def test_against_head(call, tmp_path):
    path = tmp_path / "against.csv"
    result = call(benchmark.main, "--against=HEAD", "--workload=sinusoid", "--turns=1", "--steps=2", f"--csv={path}")
    assert result.returncode == 0, result.stderr
    head, ours = record.read(path)
    assert (head["who"], ours["who"]) == ("HEAD", "ours")
    assert min(head["ms"], ours["ms"], head["first_s"], ours["first_s"]) > 0


def test_a_process_that_fails_is_told():
    with pytest.raises(UserError, match=r"has ended with 1: .*no_such"):
        Served(["scripts.no_such_module"], {})


def test_a_process_that_has_ended_between_two_questions_is_told():
    with Served(["tests.scripts.dying"], {}) as served:
        assert served.first == {"ready": 1}
        served._process.wait()
        with pytest.raises(UserError, match="has ended with 3: out of memory"):
            served.ask({"steps": 1})
