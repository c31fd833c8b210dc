"""Tests which commands use oneDNN's kernels on CPU, by asking TensorFlow in a separate process."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from maml_tf.runs import process
from maml_tf.supervised.experiment import Experiment

SETTING = "TF_ENABLE_ONEDNN_OPTS"
IMAGES = {"datasource": "miniimagenet"}

# Runs a command that loads TensorFlow and then fails on missing data; prints whether TensorFlow uses oneDNN.
PROGRAM = """
import {module} as command
assert command.main({arguments}) == 2
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""


def uses_onednn(module, *arguments, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != SETTING}
    program = PROGRAM.format(module=module, arguments=list(arguments))
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {"True": True, "False": False}[result.stdout.split()[-1]]


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (IMAGES, {SETTING: "1"}),
        ({"datasource": "folder"}, {SETTING: "1"}),
        ({"datasource": "folder", "image_size": 28}, {}),
        ({"datasource": "omniglot"}, {}),
        ({"datasource": "sinusoid"}, {}),
    ],
)
def test_large_images_are_for_onednn(settings, expected, unset):
    assert process.kernel_environment(Experiment.of(**settings).image_side) == expected


def test_what_the_user_has_set_holds(monkeypatch):
    monkeypatch.setenv(SETTING, "0")
    assert process.kernel_environment(Experiment.of(**IMAGES).image_side) == {}


def test_too_late_it_leaves_the_environment_alone(unset):
    assert "tensorflow" in sys.modules
    process.choose_kernels(Experiment.of(**IMAGES).image_side)
    assert SETTING not in os.environ


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="TensorFlow may be built without oneDNN here"
)
@pytest.mark.parametrize(
    ("module", "arguments", "environment", "expected"),
    [
        ("main", ("main.py", "--datasource=miniimagenet"), {}, True),
        ("main", ("main.py", "--datasource=miniimagenet"), {SETTING: "0"}, False),
        ("scripts.baselines", (), {}, True),
        ("scripts.reproduce", ("miniimagenet_5way_1shot",), {}, True),
    ],
)
def test_commands_choose_before_tensorflow_does(module, arguments, environment, expected, tmp_path):
    flags = [f"--data_dir={tmp_path}", f"--logdir={tmp_path}"]
    assert uses_onednn(module, *arguments, *flags, **environment) == expected
