"""The rows of reinforcement learning: what they run, and the line that they end with."""

import pytest

from rl.experiments import RLExperiment
from rl.trained import run_folder
from scripts import figures, reproduce, test_rl, train_rl
from scripts.reproduction import all_rows  # noqa: F401 - the rows register themselves
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


def test_rows_are_the_policies_of_figure_5():
    assert [(name, row.published()) for name, row in ROWS.items()][-len(RETURNS) :] == [*RETURNS.items()]


@pytest.mark.parametrize("name", RETURNS)
def test_commands_of_policies_have_the_paper_s_settings(name):
    row, (env, _, policy) = ROWS[name], name.rpartition("_")
    command = row.command(Options(logdir="my logs", iterations=7))
    assert (command[:3], command[-1]) == (["python", "-m", "scripts.train_rl"], "--logdir=my logs")
    experiment = rl_flags.experiment_of(rl_flags.parser("train_rl", "").parse_args(command[3:]))
    assert experiment == RLExperiment.of(env=env, baseline=policy, iterations=7)
    assert row.total == RLExperiment.of(env=env, baseline=policy).iterations


def test_a_policy_is_trained_tested_and_described(call, monkeypatch, tmp_path):
    calls = []

    def stub_of(name):
        return lambda arguments: calls.append((name, arguments)) or 0

    for script in (train_rl, test_rl):
        monkeypatch.setattr(script, "main", stub_of(script.__name__))
    folder = run_folder(RLExperiment.of(env="point_navigation", iterations=7), str(tmp_path))
    folder.mkdir()
    (folder / "model7.index").touch()
    rows = [
        {"policy": policy, "update": "vpg", "updates": updates, "mean": mean, "ci95": 0.25}
        for policy, mean in (("oracle", -2.0), ("maml", -4.0))
        for updates in range(5)
    ]
    figures.write_csv(tmp_path / "point_navigation_returns.csv", rows)
    result = call(reproduce.main, "point_navigation_maml", "--iterations=7", f"--logdir={tmp_path}")
    assert [name for name, _ in calls] == ["scripts.train_rl", "scripts.test_rl"]
    assert calls[1][1] == ["--env=point_navigation", f"--logdir={tmp_path}"]
    assert "| 2D navigation, MAML | -3.4 +- 0.6 | -4.0 +- 0.2 | 40 goals, 4 updates | 7 of 100;" in result.stdout
