"""Tests that an exported model gives the same answers as the MAML."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML
from tests.maml_tf.exports import SETTINGS, WAYS, assert_close, call, classifier, exported, fill, images, labels


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The export of a MAML with a learned step size for each variable, and with transductive queries."""
    model = fill(networks.mlp((3,), 2, (4,), "batch_norm"))
    maml = MAML(model, losses.mse, learn_step_size=True, num_updates=2, **SETTINGS)
    for i, size in enumerate(maml.step_sizes):
        size.assign(0.02 * (i + 1))
    return exported(maml, tmp_path_factory.mktemp("export") / "learned", transductive=True)


def points(count, size, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def test_signatures(images_export):
    names = {"predict", "adapt", "adapt_with", "predict_with", "adapt_and_predict", "adapt_and_predict_with"}
    assert set(images_export.loaded.signatures) == names | {"serving_default"}


@pytest.mark.parametrize(("support", "query"), [(5, 1), (10, 7)])
def test_adapting_is_ours_for_any_number_of_examples(images_export, support, query):
    """The MAML divides the loss by the shots it was given, the export by the shots that it counts."""
    x, y, query_x = images(support), labels(support), images(query, seed=1)
    ours = classifier(images_export.maml.model, shots=support // WAYS)
    weights = ours.adapt(x, y)
    expected = ours.predict(query_x, weights, transductive=False)
    answer = call(images_export.loaded, "adapt_and_predict", support_inputs=x, support_labels=y, query_inputs=query_x)
    assert_close(answer["query_outputs"], expected)
    assert answer["support_examples"] == support
    assert answer["support_examples"].shape == ()  # so that a server cannot merge two supports
    adapted = call(images_export.loaded, "adapt", support_inputs=x, support_labels=y)
    variables = ours.pure.adapted + ours.pure.state
    assert len(adapted) == len(variables)
    for variable, value in zip(variables, [*weights.params, *weights.state], strict=True):
        assert_close(adapted[variable.path.replace("/", "_")], value)
    assert_close(call(images_export.loaded, "predict_with", inputs=query_x, **adapted)["outputs"], expected)


def test_step_size_and_number_of_updates_are_free(images_export):
    num_updates = 4
    x, y, query_x = images(5), labels(5), images(3, seed=1)
    ours = images_export.maml
    expected = ours.predict(query_x, ours.adapt(x, y, num_updates, step_size=0.05), transductive=False)
    given = {"support_inputs": x, "support_labels": y, "step_size": np.float32(0.05), "num_updates": num_updates}
    answer = call(images_export.loaded, "adapt_and_predict_with", query_inputs=query_x, **given)
    assert_close(answer["query_outputs"], expected)
    adapted = call(images_export.loaded, "adapt_with", **given)
    assert_close(call(images_export.loaded, "predict_with", inputs=query_x, **adapted)["outputs"], expected)


def test_initialisation_predicts(images_export):
    x = images(4)
    expected = images_export.maml.predict(x, transductive=False)
    assert_close(call(images_export.loaded, "predict", inputs=x)["outputs"], expected)
    assert_close(call(images_export.loaded, "serving_default", inputs=x)["outputs"], expected)


def test_functions_of_the_loaded_object_fit_into_each_other(images_export):
    loaded = images_export.loaded
    x, y, query_x = images(5), labels(5), images(6, seed=1)
    together = loaded.predict_with(query_x, loaded.adapt(x, y))["outputs"]
    one_by_one = [loaded.predict_with(query_x[i : i + 1], loaded.adapt(x, y))["outputs"] for i in range(6)]
    assert_close(np.concatenate(one_by_one), together)
    assert_close(together, loaded.adapt_and_predict(x, y, query_x)["query_outputs"])


def test_nothing_is_assigned_and_concurrent_calls_are_apart(images_export):
    loaded = images_export.loaded
    ops = {
        node.op
        for signature in loaded.signatures.values()
        for function in signature.graph.as_graph_def().library.function
        for node in function.node_def
    }
    assert "Conv2DBackpropFilter" in ops  # so the search reaches the functions that adapt
    assert not [op for op in ops if "Assign" in op or "Scatter" in op]
    tasks = [{"support_inputs": images(5, i), "support_labels": labels(5), "query_inputs": images(5)} for i in range(4)]
    alone = [call(loaded, "adapt_and_predict", **task)["query_outputs"] for task in tasks]
    together = [None] * len(tasks)

    def answer(i):
        for _ in range(5):
            together[i] = call(loaded, "adapt_and_predict", **tasks[i])["query_outputs"]

    threads = [threading.Thread(target=answer, args=(i,)) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(together, alone)
    assert np.ptp(alone, axis=0).max() > 1e-3


def test_transductive_queries_and_learned_step_sizes(learned):
    ours, loaded = learned.maml, learned.loaded
    x, y, query_x = points(6, 3), points(6, 2, 1), points(4, 3, 2)
    expected = ours.predict(query_x, ours.adapt(x, y), transductive=True).numpy()
    assert np.abs(expected - ours.predict(query_x, ours.adapt(x, y), transductive=False)).max() > 1e-2
    assert np.abs(expected - ours.predict(query_x, ours.adapt(x, y, step_size=0.02), transductive=True)).max() > 1e-3
    support = {"support_inputs": x, "support_labels": y}
    answer = call(loaded, "adapt_and_predict", **support, query_inputs=query_x)
    assert_close(answer["query_outputs"], expected)
    sizes = np.array([size.numpy() for size in ours.step_sizes])
    answer = call(loaded, "adapt_and_predict_with", **support, query_inputs=query_x, step_size=sizes, num_updates=2)
    assert_close(answer["query_outputs"], expected)
    answer = call(
        loaded, "adapt_and_predict_with", **support, query_inputs=query_x, step_size=0 * sizes + 0.02, num_updates=1
    )
    assert_close(answer["query_outputs"], ours.predict(query_x, ours.adapt(x, y, 1, step_size=0.02), transductive=True))
    assert_close(call(loaded, "predict", inputs=query_x)["outputs"], ours.predict(query_x, transductive=True))


class Own(keras.Model):
    """A subclassed model without an Input, with a random layer and nested layers of equal names."""

    def __init__(self):
        super().__init__(name="own")
        self.embed = keras.layers.Embedding(7, 4)
        self.branches = [keras.Sequential([keras.layers.Dense(3, name="same")], name="branch") for _ in range(2)]
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, words, training=False):
        x = keras.ops.mean(self.embed(words), axis=1)
        return self.branches[0](x) + self.dropout(self.branches[1](x), training=training)


def test_a_users_own_model_and_loss(tmp_path):
    model = Own()
    words = np.random.default_rng(0).integers(0, 7, (6, 2)).astype(np.int32)
    model(words)
    kinds = np.arange(6, dtype=np.int32) % 3

    def loss(outputs, targets):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs))

    ours = MAML(model, loss, step_size=0.3, num_updates=3, **SETTINGS)
    inputs, targets = tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None], tf.int32)
    export = exported(ours, tmp_path / "own", inputs=inputs, targets=targets)
    adapted = ours.adapt(words, kinds)
    expected = ours.predict(words, adapted, transductive=False)
    support = {"support_inputs": words, "support_labels": kinds}
    assert_close(call(export.loaded, "adapt_and_predict", **support, query_inputs=words)["query_outputs"], expected)
    named = call(export.loaded, "adapt", **support)
    assert len(named) == len(model.variables)
    assert_close(call(export.loaded, "predict_with", inputs=words, **named)["outputs"], expected)
    (name,) = (name for name in named if name.endswith("embeddings"))  # Keras adds a number to its name
    assert_close(named[name], adapted.params[0])


def test_a_model_trained_on_class_ids_takes_class_ids(tmp_path):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    ours = MAML(model, loss, step_size=0.5, first_order=True, **SETTINGS)
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(2, 6, 4)).astype(np.float32), rng.integers(3, size=(2, 6))
    ours.train_step(Tasks(x, ids, x, ids))
    loaded = tf.saved_model.load(str(ours.export(tmp_path / "ids")))
    answer = call(loaded, "adapt_and_predict", support_inputs=x[0], support_labels=ids[0], query_inputs=x[0])
    assert_close(answer["query_outputs"], ours.predict(x[0], ours.adapt(x[0], ids[0])))


def test_labels_of_an_evaluation_do_not_change_those_that_an_export_takes():
    ours = MAML(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), losses.SoftmaxCrossEntropy(), **SETTINGS)
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(2, 6, 4)).astype(np.float32), rng.integers(3, size=(2, 6))
    one_hot = np.eye(3, dtype=np.float32)[ids]
    ours.evaluate(Tasks(x, ids, x, ids), 1)
    assert ours.target_spec.dtype == tf.int64
    ours.train_step(Tasks(x, one_hot, x, one_hot))
    ours.evaluate(Tasks(x, ids, x, ids), 2)
    assert (ours.target_spec.shape.as_list(), ours.target_spec.dtype) == ([None, 3], tf.float32)
