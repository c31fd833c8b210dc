"""Runs and exports that an earlier commit made: today's code resumes, tests and exports them with the same numbers."""

import functools
import json
import shutil

import numpy as np
import pytest

from tests.net import arrays, commands, data, old_runs

# On the machine that made them, all numbers are reproduced to the last bit. Another one may round differently: with XLA
# instead of TensorFlow's own kernels, numbers stay within half of this, and weights after a TRPO step within 1e-4.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
SETTINGS = ("json/settings", "experiment/.ATTRIBUTES/VARIABLE_VALUE")  # of an export, of a checkpoint
OF_SENSITIVE = {"rtol": 1e-5, "atol": 1e-3}


SLOW = {"folder", "omniglot"}  # runs that only the slow tests finish


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in old_runs.RUNS]
)
def resumed(request, tmp_path_factory):
    """The name of a run, and the arrays in its folder after today's code has finished it."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    shutil.copytree(old_runs.FOLDER / name / "runs", folder / "runs")
    run = old_runs.RUNS[name]
    run.data(folder)
    run.finish(functools.partial(commands.fork, folder))
    return name, arrays.in_folder(folder, "runs/**/*", "exported/**/*")


def of_the_time(name):
    """The arrays of the run after the earlier commit had finished it."""
    with np.load(old_runs.FOLDER / name / "end.npz") as expected:
        return dict(expected)


def assert_close(found, expected, name, tolerance=TOLERANCE):
    """Asserts equal types, shapes and numbers up to rounding, or equal settings, to which later code may add others."""
    if name.endswith(SETTINGS):
        assert json.loads(str(expected)).items() <= json.loads(str(found)).items(), name
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, err_msg=name, **tolerance)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_ends_with_the_numbers_of_the_time(resumed):
    name, found = resumed
    expected = of_the_time(name)
    assert expected.keys() <= found.keys()
    for key, array in expected.items():
        if "classifier.npz" in key:
            assert_somewhere(found, array, key)
            continue
        sensitive = any(part in key for part in old_runs.RUNS[name].sensitive)
        assert_close(found[key], array, key, OF_SENSITIVE if sensitive else TOLERANCE)


def assert_somewhere(found, expected, name):
    """Asserts that some array equals this one: the classifier's own kind of file may be a checkpoint by now."""
    alike = [array for array in found.values() if (array.dtype, array.shape) == (expected.dtype, expected.shape)]
    if expected.dtype.kind == "f":
        assert any(np.allclose(array, expected, **TOLERANCE) for array in alike), name
    else:
        assert name.endswith("/progress") or any(np.array_equal(array, expected) for array in alike), name


@pytest.mark.parametrize("name", ["sinusoid", "policy"])
def test_export_answers_as_it_did(name):
    folder, expected = old_runs.FOLDER / name / "exported", of_the_time(name)
    for (signature, output), answer in arrays.answers(folder).items():
        key = f"exported/saved_model.pb/{signature}/{output}"
        assert_close(answer, expected[key], key)


@pytest.mark.slow
def test_the_run_of_omniglot_in_runs_has_the_accuracies_of_the_time(tmp_path):
    """The synthetic images have so much noise that accuracies are far from 100 %."""
    data.omniglot(tmp_path, noise=0.35)
    shutil.copytree(commands.ROOT / "runs" / "omniglot", tmp_path / "runs")
    test = ("--datasource=omniglot", "--data_dir=omniglot", "--logdir=runs", "--train=false", "--jit=false")
    assert commands.fork(tmp_path, "main", *test).returncode == 0
    found = arrays.table(*tmp_path.glob("runs/*/test*.csv"))
    with np.load(old_runs.FOLDER / "omniglot_in_runs.npz") as expected:
        for column in expected:
            # Different rounding may change the predictions for a few of the 3000 queries.
            np.testing.assert_allclose(found[column], expected[column], rtol=0, atol=2e-3, err_msg=column)
