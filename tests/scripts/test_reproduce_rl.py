"""The rows of reinforcement learning: what they run, and the line that they end with."""

import subprocess
import sys
from pathlib import Path

import pytest

from rl.build import run_folder
from rl.experiment import RLExperiment
from scripts import reproduce, train_rl
from scripts.figures import style
from scripts.reproduction import all_rows, rl_rows, sessions  # noqa: F401 - the rows register themselves
from scripts.reproduction.registry import ROWS, Options
from scripts.rl import flags as rl_flags

RETURNS = {
    "point_navigation_maml": "-3.4 +- 0.6",
    "point_navigation_pretrained": "-7.5 +- 0.4",
    "point_navigation_oracle": "-2.3 +- 0.1",
    "half_cheetah_velocity_maml": "-60.8 +- 8.6",
    "half_cheetah_velocity_pretrained": "-133.6 +- 16.4",
    "half_cheetah_velocity_oracle": "-54.5 +- 6.9",
    "half_cheetah_direction_maml": "315.7 +- 13.8",
    "half_cheetah_direction_pretrained": "19.6 +- 11.2",
    "half_cheetah_direction_oracle": "442.7 +- 8.4",
    "ant_velocity_maml": "101.4 +- 21.0",
    "ant_velocity_pretrained": "9.5 +- 36.5",
    "ant_velocity_oracle": "107.9 +- 20.0",
    "ant_direction_maml": "499.1 +- 32.5",
    "ant_direction_pretrained": "6.9 +- 11.7",
    "ant_direction_oracle": "524.8 +- 12.4",
}

# As published, where the scripts' own settings are others.
PUBLISHED_MAML = {
    "half_cheetah_velocity": {"fast_batch_size": 10, "iterations": 475},
    "half_cheetah_direction": {"meta_step_size": 0.02, "iterations": 100},
    "ant_velocity": {"iterations": 375},
    "ant_direction": {"iterations": 575},
}


def test_rows_are_the_policies_of_figure_5():
    assert [(name, row.published()) for name, row in ROWS.items()][-len(RETURNS) :] == [*RETURNS.items()]


@pytest.mark.parametrize("name", RETURNS)
def test_commands_of_policies_have_the_paper_s_settings(name):
    row, (env, _, policy) = ROWS[name], name.rpartition("_")
    command = row.command(Options(logdir="my logs", iterations=7))
    assert (command[:3], command[-1]) == (["python", "-m", "scripts.train_rl"], "--logdir=my logs")
    experiment = rl_flags.experiment_of(rl_flags.parser("train_rl", "").parse_args(command[3:]))
    given = PUBLISHED_MAML.get(env, {}) if policy == "maml" else {}
    assert experiment == RLExperiment.of(**({"env": env, "baseline": policy} | given | {"iterations": 7}))
    assert row.total == RLExperiment.of(**({"env": env, "baseline": policy} | given)).iterations
    # Having been asked for few iterations once changes nothing for those who ask for none.
    published = rl_flags.experiment_of(rl_flags.parser("train_rl", "").parse_args(row.command(Options())[3:]))
    assert published.iterations == row.total
    *_, logdir = test = row.test_command(Options(logdir="my logs"))
    assert (test[1:3], logdir) == (["-m", "scripts.test_rl"], "--logdir=my logs")
    tested = rl_flags.experiment_of(rl_flags.parser("test_rl", "").parse_args(test[3:]))
    maml = RLExperiment.of(**({"env": env} | PUBLISHED_MAML.get(env, {})))
    assert run_folder(tested) == run_folder(maml)


@pytest.mark.slow
def test_a_row_of_one_task_runs_to_its_end(tmp_path):
    """It trains and tests with other threads, which a process can set only once; and no MAML is there to test."""
    command = [sys.executable, "-m", "scripts.reproduce", "point_navigation_oracle", "--iterations=1"]
    result = subprocess.run(
        [*command, f"--logdir={tmp_path}"], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "maml is left out: no trained policy in " in result.stdout
    assert "| 2D navigation, oracle | -2.3 +- 0.1 | " in result.stdout
    assert "| 40 goals, 0 updates | 1 of 500;" in result.stdout


def test_a_policy_is_trained_tested_and_described(call, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(train_rl, "main", lambda arguments: calls.append(arguments) or 0)
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(rl_rows.subprocess, "run", lambda command, **_: calls.append(command[3:]) or done)
    monkeypatch.setattr(sessions, "commit", lambda: "")  # of which the stub would be the end
    folder = run_folder(RLExperiment.of(env="point_navigation", iterations=7), str(tmp_path))
    folder.mkdir(parents=True)
    (folder / "model7.index").touch()
    rows = [
        {"policy": policy, "update": "vpg", "updates": updates, "mean": mean, "ci95": 0.25}
        for policy, mean in (("oracle", -2.0), ("maml", -4.0))
        for updates in range(5)
    ]
    style.write_csv(folder.parent / "point_navigation_returns.csv", rows)
    result = call(reproduce.main, "point_navigation_maml", "--iterations=7", f"--logdir={tmp_path}")
    assert calls == [["--iterations=7", f"--logdir={tmp_path}"], [f"--logdir={tmp_path}"]]
    assert "| 2D navigation, MAML | -3.4 +- 0.6 | -4.0 +- 0.2 | 40 goals, 4 updates | 7 of 100;" in result.stdout
