"""The list of the paper's results: published numbers, commands, and our numbers from the files of the runs."""

import dataclasses
import re
import subprocess

import numpy as np
import pytest

import main
from data_generators.errors import UserError
from maml_tf.baselines import report
from maml_tf.baselines.comparison import FINE_TUNING, TEST, VAL
from maml_tf.runs import best, style
from maml_tf.runs.flags import Flags
from maml_tf.supervised import build
from maml_tf.supervised.build import run_folder
from maml_tf.supervised.conditions import Conditions
from maml_tf.supervised.evaluation import Evaluation, write
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.task_data import TaskData
from rl.experiment import RLExperiment
from scripts import baselines, evaluate_rl, reproduce, results, rows, train_rl
from scripts.results import RESULTS
from scripts.rows import Curve, Options, Ours
from tests.maml_tf.baselines.test_comparison import CHOSEN, outcome

PUBLISHED = {
    "omniglot_5way_1shot": "98.7 +- 0.4",
    "omniglot_5way_5shot": "99.9 +- 0.1",
    "omniglot_20way_1shot": "95.8 +- 0.3",
    "omniglot_20way_5shot": "98.9 +- 0.2",
    "omniglot_5way_1shot_no_conv": "89.7 +- 1.1",
    "omniglot_5way_5shot_no_conv": "97.5 +- 0.6",
    "omniglot_5way_1shot_first_order": "",
    "miniimagenet_5way_1shot": "48.7 +- 1.84",
    "miniimagenet_5way_5shot": "63.11 +- 0.92",
    "miniimagenet_5way_1shot_first_order": "48.07 +- 1.75",
    "miniimagenet_5way_5shot_first_order": "63.15 +- 0.91",
    "miniimagenet_5way_1shot_fine_tuning": "28.86 +- 0.54",
    "miniimagenet_5way_5shot_fine_tuning": "49.79 +- 0.79",
    "miniimagenet_5way_1shot_nearest_neighbor": "41.08 +- 0.7",
    "miniimagenet_5way_5shot_nearest_neighbor": "51.04 +- 0.65",
    "variants_omniglot_20way_1shot_anil": "96.2",
    "variants_omniglot_20way_5shot_anil": "98.0",
    "variants_omniglot_5way_1shot_meta_sgd": "99.5",
    "variants_omniglot_5way_5shot_meta_sgd": "99.9",
    "variants_omniglot_20way_1shot_meta_sgd": "95.9",
    "variants_omniglot_20way_5shot_meta_sgd": "99.0",
    "variants_omniglot_5way_1shot_maml_plus_plus": "99.47",
    "variants_omniglot_20way_1shot_maml_plus_plus": "97.65",
    "variants_omniglot_20way_5shot_maml_plus_plus": "99.33",
    "variants_omniglot_5way_1shot_reptile": "97.68",
    "variants_omniglot_5way_5shot_reptile": "99.48",
    "variants_omniglot_20way_1shot_reptile": "89.43",
    "variants_omniglot_20way_5shot_reptile": "97.12",
    "variants_omniglot_5way_5shot_fomaml": "99.2",
    "variants_omniglot_20way_1shot_fomaml": "89.4",
    "variants_omniglot_20way_5shot_fomaml": "97.9",
    "cifar_fs_5way_1shot": "58.9 +- 1.9",
    "cifar_fs_5way_5shot": "71.5 +- 1.0",
    "fc100_5way_1shot": "37.63",
    "fc100_5way_5shot": "49.14",
    "sinusoid_10shot_maml": "0.384 +- 0.035",
    "sinusoid_10shot_pretrained": "1.647 +- 0.148",
    "sinusoid_10shot_oracle": "0.0024 +- 0.0001",
}
EXPERIMENTS = {
    "omniglot_20way_5shot": {"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5},
    "omniglot_5way_5shot_no_conv": {"datasource": "omniglot", "conv": False, "update_batch_size": 5},
    "omniglot_5way_1shot_first_order": {"datasource": "omniglot", "stop_grad": True},
    "miniimagenet_5way_5shot": {"datasource": "miniimagenet", "update_batch_size": 5},
    "cifar_fs_5way_5shot": {"datasource": "cifar_fs", "update_batch_size": 5},
    "fc100_5way_1shot": {"datasource": "fc100"},
    "sinusoid_10shot_maml": {},
    "sinusoid_10shot_pretrained": {"pretrain_iterations": 70000, "metatrain_iterations": 0},
    "sinusoid_10shot_oracle": {"baseline": "oracle"},
}
RETURNS = {
    "point_navigation_maml": "-11.7 +- 2.2",
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

# Settings of the authors' checkpoints, where they differ from those in the authors' scripts.
AUTHORS = {
    "half_cheetah_velocity": {"fast_batch_size": 10, "iterations": 475},
    "half_cheetah_direction": {"meta_step_size": 0.02, "iterations": 100},
    "ant_velocity": {"iterations": 375},
    "ant_direction": {"iterations": 575},
}


def parsed(script, arguments):
    """The flags of a script, parsed from these arguments."""
    flags = Flags()
    script.define(flags)
    return flags.parse(arguments)


def experiment_of(script, arguments):
    """The RLExperiment that the arguments of a script describe."""
    return RLExperiment.of(**parsed(script, arguments).given(RLExperiment))


def test_results_are_those_of_table_1_of_the_sinusoid_and_of_figure_5():
    assert {name: result.published for name, result in RESULTS.items()} == PUBLISHED | RETURNS
    assert [*RESULTS] == [*PUBLISHED, *RETURNS]
    assert len(results._ALL) == len(RESULTS)  # no name occurs twice


@pytest.mark.parametrize("name", PUBLISHED)
def test_commands_have_the_papers_settings(name):
    result = RESULTS[name]
    command = result.command(Options(logdir="my logs", data_dir="data"))
    folders = ["--logdir=my logs", "--data_dir=data"]
    assert [flag for flag in command if "dir=" in flag] == folders[: 1 if name.startswith("sinusoid") else 2]
    if command[1] == "-m":
        assert command[:4] == ["python", "-m", "scripts.baselines", f"--shots={name[18]}"]
        assert parsed(baselines, command[3:]).iterations == result.total
        return
    experiment, tested = main.experiments(main.parse(command[1:]))
    shots = int(re.search(r"(\d+)shot", name)[1])  # of the test; also of the training, except for Reptile
    assert experiment == result.settings
    assert tested == dataclasses.replace(experiment, update_batch_size=shots)
    assert experiment.iterations == result.total
    if name in EXPERIMENTS:
        assert experiment == Experiment.of(**EXPERIMENTS[name])
    shorter, _ = main.experiments(main.parse(result.command(Options(iterations=7))[1:]))
    assert shorter.iterations == 7
    assert shorter.name == experiment.name


@pytest.mark.parametrize("name", RETURNS)
def test_commands_of_policies_have_the_papers_settings(name):
    result, (env, _, policy) = RESULTS[name], name.rpartition("_")
    command = result.command(Options(logdir="my logs", data_dir="data", iterations=7))
    assert (command[:3], command[-1]) == (["python", "-m", "scripts.train_rl"], "--logdir=my logs")
    given = {"env": env, "baseline": policy} | (AUTHORS.get(env, {}) if policy == "maml" else {})
    assert experiment_of(train_rl, command[3:]) == RLExperiment.of(**given | {"iterations": 7})
    assert experiment_of(train_rl, result.command(Options())[3:]) == RLExperiment.of(**given) == result.settings
    assert result.total == result.settings.iterations
    *_, logdir = evaluation = result.evaluation_command(Options(logdir="my logs", data_dir="data"))
    assert (evaluation[1:3], logdir) == (["-m", "scripts.evaluate_rl"], "--logdir=my logs")
    maml = RLExperiment.of(env=env, **AUTHORS.get(env, {}))
    assert experiment_of(evaluate_rl, evaluation[3:]).name == maml.name


def test_a_policy_is_trained_evaluated_and_described(call, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(train_rl, "main", lambda arguments: calls.append(arguments) or 0)
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(rows.subprocess, "run", lambda command, **_: calls.append(command[3:]) or done)
    monkeypatch.setattr(reproduce, "commit", lambda: "")  # it would call git through the stub
    options = Options(logdir=str(tmp_path), iterations=7)
    folder = RESULTS["point_navigation_maml"].folder(options)
    folder.mkdir(parents=True)
    (folder / "model7.index").touch()
    written = [
        {"policy": policy, "update": "vpg", "updates": updates, "mean": mean, "ci95": 0.25}
        for policy, mean in (("oracle", -2.0), ("maml", -4.0))
        for updates in range(5)
    ]
    style.write_csv(folder.parent / "point_navigation_returns.csv", written)
    result = call(reproduce.main, "point_navigation_maml", "--iterations=7", f"--logdir={tmp_path}")
    assert calls == [["--iterations=7", f"--logdir={tmp_path}"], [f"--logdir={tmp_path}"]]
    assert "| 2D navigation, MAML | -11.7 +- 2.2 | -4.0 +- 0.2 | 40 goals, 1 update | 7 of 100;" in result.stdout
    assert ",-4.0 -4.0 -4.0 -4.0 -4.0,0.2 0.2 0.2 0.2 0.2,0 1 2 3 4,40 goals,last,7,0,python -m" in result.stdout


def test_our_numbers_are_read_from_what_the_runs_write(monkeypatch, tmp_path):
    options = Options(logdir=str(tmp_path))
    query = np.linspace(0.1, 0.9, 2)[:, None] + np.arange(11) / 100
    written = Evaluation("accuracy", np.zeros(2), query)
    result = RESULTS["omniglot_20way_1shot"]
    write(written, run_folder(result.settings, tmp_path), 1, 0.1)
    monkeypatch.setattr(build, "load", lambda *arguments: TaskData(None, None, None, ("train", "val")))
    assert result.ours(options) == Ours("val, 5 updates", "55.00 +- 55.44")
    assert result.curve(options) == Curve("val", ["5"], ["55.00"], ["55.44"])
    assert result.best(options) is None
    write(
        Evaluation("accuracy", np.zeros(2), query + 0.01),
        run_folder(result.settings, tmp_path),
        1,
        0.1,
        Conditions(checkpoint="best"),
    )
    monkeypatch.setattr(best, "ranks", lambda folder: {40: (0.0, 0.0)})
    monkeypatch.setattr(best, "best", lambda folder: [40])
    assert result.best(options) == 40
    assert result.curve(options, best=True) == Curve("val", ["5"], ["56.00"], ["55.44"])
    monkeypatch.setattr(reproduce, "commit", lambda: "")
    line = reproduce.record_line(result, options, reproduce.Effort(36.0, ["a"], True), 40)
    beginning = (
        'omniglot_20way_1shot,"20-way 1-shot, best on validation",95.8,0.3,56.00,55.44,5,val,best,40,0,python main.py'
    )
    assert line.startswith(beginning)
    assert ",a,0.01," in line

    result = RESULTS["sinusoid_10shot_oracle"]
    write(Evaluation("loss", np.full(2, 0.0026), query), run_folder(result.settings, tmp_path), 10, 0.01)
    assert result.ours(options) == Ours("test, 0 updates, support points", "0.0026 +- 0")
    assert result.curve(options).updates == ["0"]

    result = RESULTS["miniimagenet_5way_5shot_fine_tuning"]
    path = tmp_path / "baselines_5way_5shot.csv"
    outcomes = [outcome(FINE_TUNING, VAL, [0.4, 0.6], CHOSEN), outcome(FINE_TUNING, TEST, [0.2, 0.2], CHOSEN)]
    style.write_csv(path, report.csv_rows(outcomes, "miniimagenet", 5, 5, 30))
    assert result.ours(options) == Ours("test", "20.00 +- 0.00")
    assert result.curve(options) == Curve("test", [], ["20.00"], ["0.00"])
    style.write_csv(path, report.csv_rows(outcomes[:1], "miniimagenet", 5, 5, 30))
    assert result.ours(options) == Ours("second half of val (8 classes)", "50.00 +- 13.86")


@pytest.mark.parametrize("contents", ["", "a,b\n1,2\n", "update0\nx\ny\nz\n", "\0", "update0\n1\n1\n1\n1\n"])
def test_files_that_cannot_be_read(tmp_path, contents):
    result = RESULTS["sinusoid_10shot_oracle"]
    folder = run_folder(result.settings, tmp_path)
    folder.mkdir()
    (folder / "test_ubs10_stepsize0.01.csv").write_text(contents)
    with pytest.raises(UserError, match=r"csv is damaged or cannot be read \(.*\): run the row again\.$"):
        result.ours(Options(logdir=str(tmp_path)))


def test_our_number_says_how_many_tasks_diverged(tmp_path):
    result, query = RESULTS["sinusoid_10shot_maml"], np.full((600, 11), 0.5)
    query[:3, 1] = np.nan
    write(Evaluation("loss", np.ones(600), query), run_folder(result.settings, tmp_path), 10, 0.01)
    text = result.ours(Options(logdir=str(tmp_path))).text
    assert text == "nan +- nan (median 0.5; 3 tasks diverged)"
    numbers = (["0.500", "nan", "0.500", "0.500"], ["0.000", "-", "0.000", "0.000"])
    assert result.curve(Options(logdir=str(tmp_path))) == Curve("test", ["0", "1", "5", "10"], *numbers)
