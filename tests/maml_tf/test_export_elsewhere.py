"""Tests of exports without this project: in a process with TensorFlow only, and converted to LiteRT."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.maml_tf.exports import assert_close, call, images, labels

# Runs with TensorFlow alone: the option -I keeps this project's folder and those in PYTHONPATH out of Python's path.
CLEAN = """
import sys
import numpy as np
import tensorflow as tf

task = np.load("task.npz")
model = tf.saved_model.load(sys.argv[1])
adapted = model.adapt(task["x"], task["y"])
np.savez("answer.npz", query=model.predict_with(task["query"], adapted)["outputs"], **adapted)
assert not {"maml_tf", "data_generators"} & set(sys.modules)
"""


def test_five_images_in_a_process_with_tensorflow_only(images_export, tmp_path):
    maml = images_export.maml
    x, y, query = images(5), labels(5), images(3, seed=1)
    np.savez(tmp_path / "task.npz", x=x, y=y, query=query)
    command = [sys.executable, "-I", "-c", CLEAN, str(images_export.folder)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    answer = np.load(tmp_path / "answer.npz")
    adapted = maml.adapt(x, y)
    assert_close(answer["query"], maml.predict(query, adapted, transductive=False))
    for variable, value in zip(maml.pure.adapted, adapted.params, strict=True):
        assert_close(answer[variable.path.replace("/", "_")], value)
    assert len(answer.files) == 1 + len(adapted.params) + len(adapted.state)


def converted(folder, *signatures):
    """Converts signatures to a LiteRT model of built-in operations; returns its interpreter."""
    model = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(signatures)).convert()
    return tf.lite.Interpreter(model_content=model)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_adapted_weights_infer_on_devices(images_export):
    interpreter = converted(images_export.folder, "predict", "predict_with")
    adapted = call(images_export.loaded, "adapt", support_inputs=images(5), support_labels=labels(5))
    for count in (1, 4):
        x = images(count, seed=1)
        expected = call(images_export.loaded, "predict_with", inputs=x, **adapted)["outputs"]
        runner = interpreter.get_signature_runner("predict_with")
        taken = {name: adapted[name] for name in runner.get_input_details() if name != "inputs"}
        assert_close(runner(inputs=x, **taken)["outputs"], expected)
        expected = call(images_export.loaded, "predict", inputs=x)["outputs"]
        assert_close(interpreter.get_signature_runner("predict")(inputs=x)["outputs"], expected)


@pytest.mark.slow
def test_the_operations_that_keep_adaptation_from_devices(images_export):
    """README names these operations. If a later converter supports them, README must say so."""
    with pytest.raises(Exception, match="Select") as failure:
        converted(images_export.folder, "adapt")
    (missing,) = re.findall(r"TF Select ops: (.*)", str(failure.value))
    assert missing == "Conv2DBackpropFilter, ReluGrad"
