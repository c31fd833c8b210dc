"""The benchmark of an export, on runs of the sinusoid and of a user's data."""

import functools
import json
import re

import pytest

import main
from maml_tf.export import DESCRIPTION
from maml_tf.runs import process
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from scripts import benchmark_export
from tests.maml_tf import small_runs
from tests.maml_tf.supervised.points import NAME, NAME_OF_KERAS


@pytest.fixture(autouse=True)
def configured(monkeypatch):
    """Leaves out configuring threads, possible only once in a process, and XLA, which does not pay for single calls."""
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)
    monkeypatch.setattr(build, "load_run", functools.partial(build.load_run, task_axis="map", jit=False))


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """The logdir of a run, the only one that these tests use."""
    folder, experiment = tmp_path_factory.mktemp("sinusoid"), Experiment.of(metatrain_iterations=200)
    small_runs.training(experiment, folder / experiment.name, jit=False).run()
    return folder


@pytest.fixture
def export(logdir, tmp_path):
    """The folder of an export."""
    folder = tmp_path / "out"
    assert main.main(["main.py", f"--logdir={logdir}", "--metatrain_iterations=200", f"--export_dir={folder}"]) == 0
    return folder


def test_figures_equal_those_of_our_test(call, export, logdir):
    result = call(benchmark_export.main, f"--export_dir={export}", f"--logdir={logdir}", "--tasks=7", "--calls=3")
    assert result.returncode == 0, result.stderr
    (found,) = re.findall(r"loss after 10 updates on 7 test tasks, .*: (\S+)\n", result.stdout)
    (ours, difference) = re.findall(r"on the same tasks: (\S+); largest difference on a task: (\S+)\n", result.stdout)[
        0
    ]
    assert float(found) == pytest.approx(float(ours), rel=1e-5)
    assert float(difference) < 1e-4 * float(ours)
    assert len(re.findall(r"median +\d+\.\d\d ms, 99th percentile +\d+\.\d\d ms", result.stdout)) == 3
    assert re.search(r"to the first answer: \d+\.\d\d s\nsize on disk: 0\.\d\d MB\n", result.stdout)


OF_POINTS = ("--num_classes=3", "--update_batch_size=2", "--norm=None")
TIMED = re.compile(r"adapt_and_predict, (\d+ updates?) ")


@pytest.mark.parametrize(
    ("flags", "after", "timed"),
    [
        pytest.param(
            *(["--preset=reptile"], "loss after 50 updates", ["1 update", "10 updates"]), marks=pytest.mark.slow
        ),
        pytest.param(["--preset=meta_sgd"], "loss after 1 updates", ["1 update"], marks=pytest.mark.slow),
        (["--preset=maml_plus_plus", "--num_updates=12"], "loss after 12 updates", ["12 updates"]),
        pytest.param(
            *(["--learn_update_lr"], "loss after 10 updates", ["1 update", "10 updates"]), marks=pytest.mark.slow
        ),
        pytest.param(
            *([f"--datasource={NAME}", *OF_POINTS], "accuracy after 10 updates", ["1 update", "10 updates"]),
            marks=pytest.mark.slow,
        ),
        ([f"--datasource={NAME_OF_KERAS}", *OF_POINTS], "accuracy after 10 updates", ["1 update", "10 updates"]),
    ],
    ids=lambda value: value[0].partition(":")[2] or value[0] if isinstance(value, list) else None,
)
def test_exports_of_every_kind_are_measured(call, flags, after, timed, tmp_path):
    experiment, _ = main.experiments(main.parse(["main.py", *flags]))
    maml = build.build(experiment, build.load(experiment).source, "map", False)
    build.store(build.run_folder(experiment, "runs"), maml, experiment).save(3)  # untrained, which is enough here
    assert main.main(["main.py", *flags, "--logdir=runs", "--export_dir=out"]) == 0
    result = call(benchmark_export.main, "--export_dir=out", "--logdir=runs", "--tasks=5", "--calls=2")
    assert result.returncode == 0, result.stderr
    assert f"{after} on 5 test tasks" in result.stdout
    ours, difference = re.findall(r"same tasks: (\S+); largest difference on a task: (\S+)\n", result.stdout)[0]
    assert float(difference) <= 1e-4 * float(ours)
    assert TIMED.findall(result.stdout) == timed


def described(folder, **description):
    (folder / DESCRIPTION).parent.mkdir(parents=True)
    (folder / DESCRIPTION).write_text(json.dumps(description))
    return folder


def test_an_export_that_is_older_than_a_setting_finds_its_run(call, logdir, tmp_path):
    settings = {"datasource": "sinusoid", "metatrain_iterations": 200}
    folder = described(tmp_path / "old", datasource="sinusoid", settings=settings, iteration=77)
    result = call(benchmark_export.main, f"--export_dir={folder}", f"--logdir={logdir}")
    assert result.returncode == 2
    assert "no checkpoint of iteration 77 in " in result.stderr


@pytest.mark.parametrize("description", [{"settings": {"env": "point_navigation"}, "env": "point_navigation"}, {}])
def test_an_export_of_something_else(call, description, tmp_path):
    folder = described(tmp_path / "other", **description)
    result = call(benchmark_export.main, f"--export_dir={folder}")
    assert result.returncode == 2
    assert f"{folder} is no export of a run of main.py: name one that is" in result.stderr


def test_a_folder_that_is_no_export(call, tmp_path):
    result = call(benchmark_export.main, f"--export_dir={tmp_path}")
    assert result.returncode == 2
    assert "cannot be read: make an export by `python main.py --export_dir=" in result.stderr
