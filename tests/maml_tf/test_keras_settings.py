"""What stands in the environment and in keras.json does not change what is computed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

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


def test_keras_runs_on_tensorflow_whatever_was_chosen(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    code = "import maml_tf.networks, keras; print(keras.backend.backend())"
    result = in_a_process(code, KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path))
    assert result.stdout == "tensorflow\n", result.stderr


def test_the_package_loads_tensorflow_when_a_name_is_used():
    code = "import sys, maml_tf\nassert not {'tensorflow', 'keras', 'numpy'} & sys.modules.keys()\n"
    code += "from maml_tf import MAML, Tasks, UserError, adam, adapt, evaluate, layers, losses, networks\n"
    code += "assert all(hasattr(maml_tf, name) and name in dir(maml_tf) for name in maml_tf.__all__)\n"
    code += "assert maml_tf.layers is layers\nprint(MAML.__module__, hasattr(maml_tf, 'nothing'))"
    result = in_a_process(code)
    assert result.stdout == "maml_tf.maml False\n", result.stderr


def test_another_backend_that_is_loaded_already_is_refused_in_one_sentence():
    code = "import sys, types; k = sys.modules['keras'] = types.ModuleType('keras')\n"
    code += "k.backend = types.SimpleNamespace(backend=lambda: 'jax')\nimport maml_tf"
    result = in_a_process(code)
    assert "UserError: maml_tf needs Keras on TensorFlow, but it runs on jax: set" in result.stderr.splitlines()[-1]
