"""Tests that class ids as targets give the same numbers as one-hot targets, from training to export."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from maml_tf import losses, networks, users_losses
from maml_tf.export import DESCRIPTION
from maml_tf.maml import MAML
from maml_tf.supervised.build import load_run
from maml_tf.supervised.experiment import Experiment
from tests.maml_tf.supervised.points import NAME, NAME_OF_KERAS, Source

TASKS = Source(2).sample(0, "train", 0, 3)
EYE = np.eye(3, dtype=np.float32)
TARGETS = {"ids": lambda ids: ids, "column": lambda ids: ids[..., None], "float": lambda ids: ids.astype(np.float32)}


def made(task_axis):
    keras.utils.set_random_seed(0)
    network = networks.mlp((2,), 3, (8,))
    return MAML(network, losses.SoftmaxCrossEntropy(2), accuracy="accuracy", task_axis=task_axis, jit=False)


def with_targets(change):
    return TASKS._replace(support_y=change(TASKS.support_y), query_y=change(TASKS.query_y))


@pytest.mark.parametrize("task_axis", ["map", pytest.param("vectorize", marks=pytest.mark.slow)])
def test_ids_give_the_numbers_of_one_hot_targets(task_axis):
    one_hot = with_targets(lambda ids: EYE[ids])
    expected = made(task_axis)
    step, curves = expected.train_step(one_hot), expected.evaluate(one_hot, 2)
    for change in TARGETS.values():
        maml, tasks = made(task_axis), with_targets(change)
        for found, wanted in ((maml.train_step(tasks), step), (maml.evaluate(tasks, 2), curves)):
            assert found.keys() == wanted.keys()
            for name in wanted:
                np.testing.assert_array_equal(found[name], wanted[name])
        fast, wanted = (m.adapt(t.support_x[0], t.support_y[0]).params for m, t in ((maml, tasks), (expected, one_hot)))
        for a, b in zip(fast, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def test_export_takes_the_targets_of_training_and_before_any_training_those_that_the_loss_takes(tmp_path):
    def targets(maml, folder):
        maml.export(tmp_path / folder)
        exported = tf.saved_model.load(str(tmp_path / folder)).signatures["adapt_and_predict"]
        return exported.structured_input_signature[1]["support_labels"].shape.as_list()

    maml = made("map")
    assert targets(maml, "before") == [None, 3]
    maml.train_step(TASKS)
    assert targets(maml, "after") == [None]
    sparse = MAML(networks.mlp((2,), 3, (8,)), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert targets(sparse, "sparse") == [None]


def test_accuracies_of_keras_vectorise_over_tasks():
    for metric in ("sparse_categorical_accuracy", keras.metrics.SparseCategoricalAccuracy()):
        assert users_losses.as_accuracy(metric) is losses.accuracy
    own = keras.metrics.SparseTopKCategoricalAccuracy(k=2)
    assert users_losses.as_accuracy(own) is not losses.accuracy


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAME, NAME_OF_KERAS])
def test_own_data_with_ids_are_trained_tested_and_exported(run_main, tmp_path, name):
    settings = {
        "datasource": name,
        "num_classes": 3,
        "update_batch_size": 2,
        "update_lr": 0.5,
        "norm": "None",
        "metatrain_iterations": 3,
    }
    arguments = (*(f"--{setting}={value}" for setting, value in settings.items()), "--logdir=runs", "--jit=false")
    result = run_main(*arguments, "--validation_interval=2", "--log_gradient_cosine", "--test_tasks=30")
    assert result.returncode == 0, result.stderr
    assert "Accuracy in % on 30 test tasks" in result.stdout
    assert run_main(*arguments, "--export_dir=export").returncode == 0
    described = json.loads((tmp_path / "export" / DESCRIPTION).read_text())["arguments"]["adapt"]
    ids_only = name == NAME_OF_KERAS
    assert described["support_labels"] == ("int64 [examples]" if ids_only else "float32 [examples, 3]")
    exported = tf.saved_model.load(str(tmp_path / "export")).signatures["adapt_and_predict"]
    x, ids = TASKS.support_x[0], TASKS.support_y[0]
    labels = tf.constant(ids if ids_only else EYE[ids])
    outputs = exported(support_inputs=tf.constant(x), support_labels=labels, query_inputs=tf.constant(x))
    maml = load_run(Experiment.of(**settings), "runs", jit=False).maml
    np.testing.assert_allclose(outputs["query_outputs"], maml.predict(x, maml.adapt(x, ids)), rtol=1e-4, atol=1e-7)
