"""The commands of reinforcement learning, in the tests' own process to save time."""

import csv

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from rl import build, export
from scripts import benchmark_rl, evaluate_rl, export_rl, flops, train_rl
from tests.command import assert_refused

SMALL = ["--meta_batch_size=2", "--fast_batch_size=2", "--horizon=5", "--hidden_size=4"]


def test_train_then_test_then_export(run, tmp_path, monkeypatch):
    code, out, _ = run(train_rl, *SMALL, "--iterations=1", "--logdir=runs")
    assert code == 0
    assert "Trained for 1 iterations; best return -" in out
    (folder,) = (tmp_path / "runs" / "point_navigation").iterdir()
    assert {"model1.index", "progress.csv", "best"} <= {file.name for file in folder.iterdir()}
    assert list(folder.glob("events.*"))
    test = [*SMALL, "--logdir=runs", "--trajectories=2", "--num_updates=2", "--out=out"]
    code, out, _ = run(evaluate_rl, *test)
    assert code == 0
    assert "pretrained is left out: no trained policy in " in out
    assert "-40.4 +- 4.0" in out  # published
    assert "Returns are sums over steps: published ones over 100, ours over " in out
    with open(tmp_path / "out" / "point_navigation_returns.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["policy"], row["updates"]) for row in rows] == [
        (p, str(k)) for p in ("maml", "random") for k in range(3)
    ]
    assert all(float(row["mean"]) < 0 < float(row["ci95"]) for row in rows)
    for name in ("returns", "trajectories"):
        assert (tmp_path / "out" / f"point_navigation_{name}.png").read_bytes().startswith(b"\x89PNG")
    code, _, _ = run(evaluate_rl, *test, "--num_updates=1", "--policy=maml", "--update=trpo", "--best")
    assert code == 0
    with open(tmp_path / "out" / "point_navigation_trpo_returns.csv", newline="") as file:
        by_trpo = list(csv.DictReader(file))
    assert [row["published_mean"] for row in by_trpo] == ["", ""]
    assert by_trpo[1]["mean"] != rows[1]["mean"]
    check_exports(run, tmp_path, monkeypatch)
    check_a_policy_that_diverges(run, tmp_path, monkeypatch, test)


def test_a_baseline_with_settings_of_its_own_is_evaluated_by_the_flags_of_its_training(run, tmp_path):
    flags = "--baseline=oracle", "--fast_batch_size=2", "--horizon=5", "--hidden_size=4", "--logdir=runs"
    code, _, err = run(train_rl, *flags, "--iterations=2", "--log=false")
    assert code == 0, err
    code, out, err = run(evaluate_rl, *flags, "--trajectories=2", "--out=out")
    assert code == 0, err
    assert "replaced" not in out
    code, out, err = run(evaluate_rl, *flags, "--trajectories=2", "--out=out")
    assert code == 0, err
    assert "The earlier out/point_navigation_oracle_returns.csv will be replaced: another --name keeps both\n" in out
    assert "oracle: the policy of iteration 2" in out
    assert "left out" not in out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"point_navigation_oracle_returns.{ending}" for ending in ("csv", "png")
    }
    with open(tmp_path / "out" / "point_navigation_oracle_returns.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["policy"], row["updates"], row["published_mean"][:4]) == ("oracle", "0", "-2.2")
    code, _, err = run(evaluate_rl, *flags, "--trajectories=2", "--test_iter=9")
    assert (code, err.splitlines()[-1][:36]) == (2, "error: no checkpoint of iteration 9 ")


def test_environments_are_closed(run, monkeypatch):
    class Still(gymnasium.Env):
        action_space = observation_space = gymnasium.spaces.Box(-1, 1, (1,))

        def __init__(self):
            opened.append(self)

        def close(self):
            closed.add(self)

        def reset(self, *, seed=None, options=None):
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), -float(action[0] ** 2), False, False, {}

        def sample_task(self, random):
            return random.uniform()

        def set_task(self, goal):
            pass

    opened, closed = [], set()
    monkeypatch.setitem(gymnasium.registry, "Still-v0", EnvSpec("Still-v0", Still))
    small = "--env=Still-v0", *SMALL, "--baseline=oracle", "--logdir=runs"  # the fastest to compile
    assert run(train_rl, *small, "--iterations=1", "--log=false")[0] == 0
    assert run(evaluate_rl, *small, "--trajectories=1")[0] == 0
    assert len(opened) > 4 + 40
    assert closed == set(opened)


def check_a_policy_that_diverges(run, tmp_path, monkeypatch, test):
    """Checks that a policy that diverges is reported and does not prevent the test of the others."""
    new_policy = build.new_policy

    def broken_if_random(experiment):
        policy = new_policy(experiment)
        if experiment.nonlinearity == "tanh":
            policy.variables[0].assign(policy.variables[0] * np.nan)
        return policy

    monkeypatch.setattr(build, "new_policy", broken_if_random)
    code, out, _ = run(evaluate_rl, *test)
    assert code == 0
    assert "random is left out: The policy's action is NaN or infinite in task 0" in out
    with open(tmp_path / "out" / "point_navigation_returns.csv", newline="") as file:
        assert {row["policy"] for row in csv.DictReader(file)} == {"maml"}
    code, _, err = run(evaluate_rl, *test, "--policy=random")
    assert (code, err.splitlines()[-1][:27]) == (2, "error: The policy's action ")


def check_exports(run, tmp_path, monkeypatch):
    """Checks which policies are exported, and what is not overwritten; tests/rl/test_export.py tests the exports."""
    asked = []
    monkeypatch.setattr(export, "export", lambda *arguments: asked.append(arguments) or arguments[-1])
    command = [*SMALL, "--logdir=runs", "--export_dir=exported"]
    code, out, _ = run(export_rl, *command)
    assert (code, out) == (0, "Exporting the policy of iteration 1\nWritten to exported\n")
    assert run(export_rl, *command, "--best")[0] == 0
    ((last, experiment, *rest), (best, *_)) = asked
    assert (rest, experiment.hidden_size) == ([1, "exported"], 4)
    assert (last.flat().numpy() != best.flat().numpy()).any()  # the best is from before the only iteration
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "file").write_text("mine")
    code, _, err = run(export_rl, *command)
    assert (code, err) == (2, "error: the export folder exported is not empty: name another, or remove it\n")
    code, _, err = run(export_rl, *command[:-1], "--export_dir=other", "--test_iter=3")
    assert (code, len(asked)) == (2, 2)
    assert err.startswith("error: no checkpoint of iteration 3 in ")


def test_benchmark(run, monkeypatch):
    monkeypatch.setattr(flops, "sgemm", lambda: 12.5)  # takes seconds to measure
    code, out, _ = run(benchmark_rl, *SMALL, "--baseline=oracle", "--repeats=1")  # the fastest to compile
    assert code == 0
    assert "seconds_sampling" in out
    assert "GFLOP/s; sgemm of this machine: 12.5 GFLOP/s" in out


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        (train_rl, ["--env=pendulum"], "There is no environment 'pendulum': choose point_navigation, "),
        (evaluate_rl, ["--env=pendulum"], "There is no environment 'pendulum': choose point_navigation, "),
        (train_rl, ["--fast_batch_size=0"], "--fast_batch_size must be at least 1, not 0"),
        (train_rl, ["--save_interval=0"], "--save_interval must be at least 1, not 0"),
        (evaluate_rl, ["--num_updates=0"], "--num_updates must be at least 1, not 0"),
        (evaluate_rl, ["--trajectories=-1"], "--trajectories must be at least 1, not -1"),
        (evaluate_rl, [f"--trajectories={10**30}"], "--trajectories must be at most 100000, not 1000000000"),
        (evaluate_rl, [f"--num_updates={2**31}"], "--num_updates must be at most 1000, not 2147483648"),
        (train_rl, [f"--horizon={10**30}"], "--horizon must be at most 1000000, not 1000000"),
        (train_rl, ["--meta_batch_size=100000", "--fast_batch_size=100000"], "steps in one batch: use smaller sizes"),
        (benchmark_rl, ["--repeats=0"], "--repeats must be at least 1, not 0"),
        (train_rl, ["--env=:Id"], "Gymnasium cannot make the environment ':Id'"),
        (evaluate_rl, ["--best", "--test_iter=3"], "name different checkpoints"),
        (evaluate_rl, ["--update=trpo", "--adapt=head"], "--update=trpo changes all parameters: leave it out"),
        (
            evaluate_rl,
            ["--baseline=pretrained", "--optimizer=trpo"],
            "scripts.train_rl --baseline=pretrained --optimizer=trpo",
        ),
        (evaluate_rl, ["--baseline=oracle", "--policy=maml"], "--baseline=oracle evaluates that baseline alone"),
        (evaluate_rl, ["--baseline=oracle", "--policy=oracle"], "--baseline=oracle evaluates that baseline alone"),
        (evaluate_rl, ["--baseline=oracle", "--update=trpo"], "an oracle knows the goal and does not adapt: leave out"),
        (evaluate_rl, ["--baseline=oracle", "--num_updates=2"], "an oracle knows the goal and does not adapt"),
        (train_rl, ["--env=maml/PointNavigation-v0"], "give --env=point_navigation, which has its settings"),
        (evaluate_rl, ["--baseline=oracle", "--adapt=head"], "--baseline=oracle has no inner updates"),
        (evaluate_rl, ["--policy=pretrained", "--test_iter=1"], "--test_iter chooses a checkpoint of MAML, which"),
        (
            evaluate_rl,
            ["--policy=random", "--policy=oracle", "--best"],
            "--best chooses a checkpoint of MAML, which --policy leaves",
        ),
        (
            evaluate_rl,
            ["--env=pendulum", "--policy=maml"],
            "There is no environment 'pendulum': choose point_navigation",
        ),
        (
            export_rl,
            ["--env=pendulum", "--export_dir=out"],
            "There is no environment 'pendulum': choose point_navigation",
        ),
        (evaluate_rl, ["--baseline=none"], "unknown baseline 'none': choose one of maml, pretrained, oracle"),
        (evaluate_rl, ["--baseline=maml", "--seed=3"], "make it by `python -m scripts.train_rl --seed=3`"),
        (export_rl, ["--export_dir=out", "--best", "--test_iter=3"], "name different checkpoints"),
        (export_rl, ["--export_dir=out", "--hidden_size=0"], "--hidden_size must be at least 1, not 0"),
        (export_rl, ["--export_dir=out", "--seed=3"], "make it by `python -m scripts.train_rl --seed=3`"),
        (evaluate_rl, ["--seed=3"], "make it by `python -m scripts.train_rl --seed=3`"),
    ],
)
def test_what_is_refused(run, tmp_path, script, arguments, message):
    assert_refused(run(script, *arguments), message)
    assert list(tmp_path.iterdir()) == []
