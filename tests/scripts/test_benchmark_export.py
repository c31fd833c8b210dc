"""The benchmark of an export, on a run of the sinusoid."""

import re

import pytest

import main
from maml_tf.runs import process
from scripts import benchmark_export


@pytest.fixture
def export(logdir, monkeypatch, tmp_path):
    """The folder of an export."""
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)
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


def test_a_folder_that_is_no_export(call, tmp_path):
    result = call(benchmark_export.main, f"--export_dir={tmp_path}")
    assert result.returncode == 2
    assert "cannot be read: make an export by `python main.py --export_dir=" in result.stderr
