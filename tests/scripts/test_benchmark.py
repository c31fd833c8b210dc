"""The benchmark: its command, and what its worker measures, on networks too small to say anything about speed."""

import csv
import functools
import importlib

import numpy as np
import pytest

from maml_tf.supervised.experiment import Experiment
from scripts import benchmark, benchmark_worker, flops

TINY = {"num_filters": 2, "meta_batch_size": 2}


def test_command_prints_a_table_and_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "sgemm_rate", lambda: 50.0)  # takes seconds to measure
    flags = "--workload=sinusoid", "--steps=3", "--jit=false", f"--csv={tmp_path}/benchmark.csv"
    assert benchmark.main([*flags]) == 0, capsys.readouterr().err
    first, blank, titles, row = capsys.readouterr().out.splitlines()
    assert first.endswith("NumPy's sgemm does 50 GFLOP/s")
    assert blank == ""
    assert [title for column in benchmark.COLUMNS for title in column.title.split()] == titles.split()
    assert row.startswith("sinusoid ")
    with (tmp_path / "benchmark.csv").open() as file:
        (written,) = csv.DictReader(file)
    assert written["workload"] == "sinusoid"
    assert (written["task_axis"], written["jit"]) == ("vectorize", "False")
    assert float(written["ms_per_step"]) > 0
    assert float(written["sgemm_share"]) == pytest.approx(float(written["gflop_per_second"]) / 50, rel=1e-6)
    # 25 tasks of 10 support and 10 query points, layers of 40, 1600 and 40 weights, one update (see test_flops.py).
    assert float(written["gflop_per_step"]) == pytest.approx(2 * 25 * 10 * (6 * 40 + 12 * 1640) / 1e9)
    assert 1 < float(written["first_step_seconds"]) < 60
    assert 100 < float(written["peak_mb"]) < 4000


def test_rate_of_the_machine_is_what_flops_prints(monkeypatch, capsys):
    """The module runs in this process instead of its own, and its matrix products are small, to save time."""
    monkeypatch.setattr(flops, "sgemm", functools.partial(flops.sgemm, size=64, repeats=3))

    def printed(module):
        assert importlib.import_module(module).main([]) == 0
        return capsys.readouterr().out

    monkeypatch.setattr(benchmark, "_printed", printed)
    assert 0.01 < benchmark.sgemm_rate() < 1e5


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--workload=cartpole", "flag --workload=cartpole: value should be one of <omniglot_5way_1shot|"),
        ("--steps=0", "--steps must be at least 1"),
        ("--steps=many", "flag --steps=many: invalid literal for int()"),
        ("--csv=/dev/null/all.csv", "cannot write to /dev/null"),
        ("--csv=/", "cannot write / (Is a directory)"),
        ("--turns=3", "--turns is of --peers and --against"),
    ],
)
def test_bad_flags(flag, complaint, capsys):
    assert benchmark.main([flag]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("name", benchmark.WORKLOADS)
def test_workloads_have_data_of_the_right_shape(name):
    experiment = Experiment.of(**benchmark.WORKLOADS[name].settings)
    source = benchmark_worker.random_source(experiment)
    tasks = source.sample(0, "train", 0, 2)
    ways = 1 if experiment.datasource == "sinusoid" else experiment.num_classes
    assert tasks.support_x.shape[:2] == (2, ways * experiment.update_batch_size)
    assert tasks.query_y.shape[1] == (75 if experiment.datasource == "miniimagenet" else tasks.support_y.shape[1])


@pytest.mark.slow
def test_loop_of_single_steps():
    experiment = Experiment.of(datasource="miniimagenet", num_updates=1, **TINY)
    measured = benchmark_worker.measure(experiment, "steps", 2)
    assert measured["ms_per_step"] > 0
    assert measured["overhead"] is None


def test_compiled_loop():
    measured = benchmark_worker.measure(Experiment.of(datasource="sinusoid", meta_batch_size=2), "compiled_loop", 200)
    assert measured["ms_per_step"] > 0
    assert measured["jit"]


@pytest.mark.slow
def test_training_loop_compares_itself_with_bare_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    measured = benchmark_worker.measure(Experiment.of(datasource="omniglot", **TINY), "training_loop", 100)
    assert measured["ms_per_step"] > 0
    assert np.isfinite(measured["overhead"])
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_operations_of_a_variant_are_not_those_of_maml():
    tiny = {"conv": False, "meta_batch_size": 2}
    plain, anil = (Experiment.of(datasource="omniglot", adapt=adapt, **tiny) for adapt in ("all", "head"))
    assert benchmark_worker.measure(plain, "steps", 1, jit=False)["gflop_per_step"] > 0
    assert benchmark_worker.measure(anil, "steps", 1, jit=False)["gflop_per_step"] is None
    assert benchmark.COLUMNS[4].text({"gflop_per_step": None}) == "-"
