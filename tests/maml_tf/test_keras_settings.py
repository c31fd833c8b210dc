"""Tests that the environment and keras.json do not change what is computed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import maml_tf
from maml_tf import networks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("network", [{"filters": 3}, {"filters": 3, "max_pool": True, "flatten": True}])
def test_networks_are_the_same_with_channels_first(network):
    def make():
        keras.utils.set_random_seed(0)
        return networks.conv4((16, 20, 3), 5, **network)

    x = np.random.default_rng(0).random((2, 16, 20, 3)).astype(np.float32)
    usual = make()
    keras.config.set_image_data_format("channels_first")
    try:
        other = make()
        for mine, its in zip(other.variables, usual.variables, strict=True):
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_array_equal(other(x), usual(x))
    finally:
        keras.config.set_image_data_format("channels_last")


def in_a_process(code, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)


# All names are tested in one process, as it takes seconds to load TensorFlow.
ALL_NAMES = f"""
import sys, maml_tf
from maml_tf import {", ".join(maml_tf.__all__)}
assert all(hasattr(maml_tf, name) and name in dir(maml_tf) for name in maml_tf.__all__)
assert maml_tf.layers is layers and export.export and Episodes.dataset
assert (MAML.__module__, hasattr(maml_tf, "nothing")) == ("maml_tf.maml", False)
"""


def test_keras_runs_on_tensorflow_whatever_was_chosen(tmp_path, monkeypatch):
    """A choice by KERAS_BACKEND is in test_adapted_model."""
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    told = "import os, keras; print(keras.backend.backend(), os.environ.get('KERAS_BACKEND'))"
    result = in_a_process(f"from maml_tf import Sinusoid; {told}\n{ALL_NAMES}", KERAS_HOME=str(tmp_path))
    assert result.stdout == "tensorflow None\n", result.stderr  # the user's environment is unchanged
    assert result.returncode == 0, result.stderr


def test_importing_the_package_changes_nothing_in_the_process():
    code = """
import logging, os, random, sys, time, warnings
def state():
    handlers = [logging.root.level, list(logging.root.handlers), logging.root.manager.loggerDict.copy()]
    return dict(os.environ), list(warnings.filters), handlers, random.getstate(), sys.path[:], sys.meta_path[:]
before = state()
start = time.process_time()
import maml_tf
seconds = time.process_time() - start
assert state() == before
assert not {"tensorflow", "keras", "numpy", "PIL", "absl", "tqdm"} & sys.modules.keys()
assert seconds < 0.1, seconds
"""
    result = in_a_process(code, KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr


def test_data_need_no_tensorflow():
    code = "import sys\n"
    code += "from maml_tf import Episodes, Tasks, by_size, load_image_folder, load_miniimagenet, load_omniglot\n"
    code += "print({'tensorflow', 'keras'} & sys.modules.keys())"
    assert in_a_process(code).stdout == "set()\n"


@pytest.mark.parametrize("use", ["from maml_tf import MAML", "from maml_tf.maml import MAML"])
def test_another_backend_that_is_loaded_already_is_refused_in_one_sentence(use):
    code = "import sys, types; k = sys.modules['keras'] = types.ModuleType('keras')\n"
    code += "sys.modules['tensorflow'] = types.ModuleType('tensorflow')  # which would take seconds to load\n"
    code += f"k.backend = types.SimpleNamespace(backend=lambda: 'jax')\nimport maml_tf\n{use}"
    result = in_a_process(code)
    assert "UserError: maml_tf needs Keras on TensorFlow, but it runs on jax: set" in result.stderr.splitlines()[-1]


def test_another_backend_that_began_to_load_is_refused_in_one_sentence(tmp_path):
    result = in_a_process("import tensorflow\nfrom maml_tf import MAML", KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path))
    assert "UserError: maml_tf needs Keras on TensorFlow, but it runs on jax: set" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("file", ["data_generators.py", "data_generators/__init__.py"])
def test_a_module_of_the_users_that_hides_the_package_is_named(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    found = in_a_process(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from maml_tf import MAML")
    why = f"{path} hides the package data_generators, which belongs to maml_tf: give your own another name"
    assert found.stderr.splitlines()[-1] == f"ImportError: {why}"
