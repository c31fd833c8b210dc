"""Tests of the description of an export, and of what exports and the exporting itself refuse."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from data_generators import files
from data_generators.errors import UserError
from maml_tf import losses, networks
from maml_tf.export import DESCRIPTION, export
from maml_tf.maml import MAML
from maml_tf.signatures import Signatures
from tests.maml_tf.exports import SETTINGS, SIDE, TIMES, WAYS, call, images, labels

TASK = {
    "support_inputs": images(5),
    "support_labels": labels(5),
    "query_inputs": images(3),
    "step_size": np.float32(0.1),
    "num_updates": np.int32(1),
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"support_inputs": images(5)[:, :6]}, r"support_inputs\S* \[5,6,8,1\] is not .* expected shape \[\?,8,8,1\]"),
        ({"support_inputs": images(5)[0]}, r"support_inputs\S* \[8,8,1\] is not .* expected shape \[\?,8,8,1\]"),
        (
            {"query_inputs": images(3)[..., [0, 0]]},
            r"query_inputs\S* \[3,8,8,2\] is not .* expected shape \[\?,8,8,1\]",
        ),
        ({"support_labels": labels(5)[:, :3]}, r"support_labels\S* \[5,3\] is not .* expected shape \[\?,5\]"),
        (
            {"support_inputs": images(0), "support_labels": labels(0)},
            r"the support is empty: expected support_inputs \[examples, 8, 8, 1\] and support_labels \[examples, 5\]",
        ),
        ({"support_labels": labels(10)}, r"support_labels \[examples, 5\], with as many labels as inputs"),
        ({"support_inputs": images(5) * np.float32(np.nan)}, r"support_inputs must be finite : Tensor had NaN"),
        ({"support_labels": labels(5) / np.float32(0)}, "support_labels must be finite : Tensor had"),
        ({"query_inputs": images(3) * np.float32(np.inf)}, "query_inputs must be finite : Tensor had"),
        ({"step_size": np.float32(np.nan)}, "step_size must be finite : Tensor had NaN"),
        ({"num_updates": np.int32(0)}, "num_updates must be a scalar of at least 1"),
        ({"num_updates": np.int32(-1)}, "num_updates must be a scalar of at least 1"),
    ],
)
def test_wrong_argument(images_export, arguments, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(images_export.loaded, "adapt_and_predict_with", **TASK | arguments)


def test_wrong_argument_of_the_other_signatures(images_export):
    loaded = images_export.loaded
    support = {name: TASK[name] for name in ("support_inputs", "support_labels")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"inputs\S* \[3,6,8,1\] is not .* \[\?,8,8,1\]"):
        call(loaded, "predict", inputs=images(3)[:, :6])
    with pytest.raises(tf.errors.InvalidArgumentError, match="the support is empty"):
        call(loaded, "adapt", support_inputs=images(0), support_labels=labels(0))
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_updates must be a scalar of at least 1"):
        call(loaded, "adapt_with", **support, step_size=np.float32(0.1), num_updates=0)
    adapted = call(loaded, "adapt", **support)
    with pytest.raises(tf.errors.InvalidArgumentError, match="output_bias must be finite"):
        call(loaded, "predict_with", inputs=images(3), **adapted | {"output_bias": adapted["output_bias"] / 0})
    adapted["output_bias"] = adapted["output_bias"][:3]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"output_bias\S* \[3\] is not .* expected shape \[5\]"):
        call(loaded, "predict_with", inputs=images(3), **adapted)


@pytest.mark.parametrize(("inputs", "targets"), [(5, 4), (5, 0), (0, 5)])
def test_the_number_of_labels_is_checked_before_anything_uses_them(small, inputs, targets):
    x, y = (tf.TensorSpec([None, 1], tf.float32, name) for name in ("support_inputs", "support_labels"))
    adapt = tf.function(Signatures(small, False, x, y).adapt, autograph=False).get_concrete_function(x, y)
    for _ in range(TIMES):  # the order of operations may differ each time
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected support_inputs \[examples, 1\] and"):
            adapt(tf.ones([inputs, 1]), tf.ones([targets, 1]))


def test_description(images_export):
    description = json.loads((images_export.folder / DESCRIPTION).read_text())
    assert description["maml_tf"] == maml_tf.__version__
    assert description["tensorflow"] == tf.__version__
    assert (description["step_size"], description["num_updates"]) == (0.1, 2)
    assert description["queries_normalised_by"] == "support statistics"
    assert description["weights"][:2] == ["conv1_kernel", "conv1_bias"]
    assert set(description["weights"] + description["state"]) == set(images_export.loaded.adapt(images(5), labels(5)))
    assert description["arguments"].keys() | {"serving_default"} == set(images_export.loaded.signatures)
    for name, arguments in description["arguments"].items():
        _, expected = images_export.loaded.signatures[name].structured_input_signature
        assert arguments.keys() == expected.keys()
    assert description["arguments"]["adapt"] == {
        "support_inputs": f"float32 [examples, {SIDE}, {SIDE}, 1]",
        "support_labels": f"float32 [examples, {WAYS}]",
    }


@pytest.fixture(scope="module")
def small():
    return MAML(networks.mlp((1,), 1, (2,)), losses.mse, **SETTINGS)


def test_what_is_there_is_not_overwritten(small, tmp_path):
    (tmp_path / "mine").write_text("mine")
    for path in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match=f"the export folder {path} is not empty: name another, or remove it"):
            small.export(path)
    with pytest.raises(UserError, match="cannot be"):
        small.export(tmp_path / "mine" / "below")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_an_export_that_fails_leaves_nothing(small, tmp_path, monkeypatch):
    def out_of_space(path, *arguments, **settings):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", out_of_space)
        with pytest.raises(UserError, match=r"the export cannot be written to .* \(no space left on device\)"):
            small.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()  # an empty folder is accepted
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name in ("out", "earlier"):  # what a killed export leaves
        (tmp_path / f".{name}.{process.pid}-{files._HOST}.part" / "variables").mkdir(parents=True)
    assert small.export(tmp_path / "out") == tmp_path / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "saved_model.pb").exists()


def test_models_that_cannot_be_exported(tmp_path):
    a, b = keras.Input((1,)), keras.Input((1,))
    both = keras.layers.Dense(1)(keras.layers.Concatenate()([a, b]))
    two_outputs = keras.layers.Dense(1)(a), keras.layers.Dense(1)(a)
    for model, message in (
        (keras.Model([a, b], both, name="pair"), "model 'pair' has 2 inputs: only models with one can be exported"),
        (keras.Model(a, two_outputs, name="fork"), "model 'fork' has several outputs: only models with one"),
    ):
        with pytest.raises(UserError, match=message):
            export(MAML(model, losses.mse, **SETTINGS), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
