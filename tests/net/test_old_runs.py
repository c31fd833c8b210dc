"""Runs and exports that an earlier commit made: today's code resumes, tests and exports them to the same numbers."""

import functools
import shutil

import numpy as np
import pytest

from tests.net import arrays, commands, old_runs

# On the machine that made them, all numbers come again to the last bit; another one may round differently.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=old_runs.RUNS)
def resumed(request, tmp_path_factory):
    """The name of a run, and the arrays in the folder in which today's code brought it to its end."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    shutil.copytree(old_runs.FOLDER / name / "runs", folder / "runs")
    run = old_runs.RUNS[name]
    run.data(folder)
    run.finish(functools.partial(commands.fork, folder))
    return name, arrays.in_folder(folder, "runs/**/*", "exported/**/*")


def of_the_time(name):
    """The arrays that the earlier commit brought it to."""
    with np.load(old_runs.FOLDER / name / "end.npz") as expected:
        return dict(expected)


def assert_close(found, expected, name):
    """The same type, shape and numbers but for rounding."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, err_msg=name, **TOLERANCE)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_ends_with_the_numbers_of_the_time(resumed):
    name, found = resumed
    expected = of_the_time(name)
    assert expected.keys() <= found.keys()
    for key, array in expected.items():
        assert_close(found[key], array, key)


@pytest.mark.parametrize("name", ["sinusoid", "policy"])
def test_export_answers_as_it_did(name):
    folder, expected = old_runs.FOLDER / name / "exported", of_the_time(name)
    for (signature, output), answer in arrays.answers(folder).items():
        key = f"exported/saved_model.pb/{signature}/{output}"
        assert_close(answer, expected[key], key)
