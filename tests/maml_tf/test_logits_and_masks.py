"""Tests of Keras's losses and metrics on a model's outputs: logits or probabilities, masked values, several outputs."""

import functools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import MAML, keras_means, logits, losses, users_losses
from maml_tf.pure_model import PureModel

L = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(1, 6, 8, 8, 1)).astype(np.float32)
LABELS = np.eye(3, dtype=np.float32)[None, [0, 1, 2, 0, 1, 2]]
BINARY = tf.constant([[0.3], [0.2], [-0.4]]), tf.constant([[1.0], [1.0], [0.0]])  # logits; all predictions are right


def ending(*layers):
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def as_metric(metric, loss):
    """Returns a metric beside a loss, for a model that ends in a linear layer."""
    model = keras.Sequential([keras.Input((1,)), L.Dense(1)])
    return users_losses.as_accuracy(metric, model, users_losses.as_loss(loss, model))


@pytest.mark.parametrize(
    ("layers", "are_logits"),
    [
        ([L.Conv2D(3, 3), L.GlobalAveragePooling2D()], True),
        ([L.Conv2D(3, 3, activation="softmax"), L.GlobalAveragePooling2D()], False),
        ([L.Flatten(), L.Dense(3), L.Reshape((3,)), L.Dropout(0.5)], True),
        ([L.Flatten(), L.Dense(3, "softmax"), L.Reshape((3,))], False),
        ([ending(L.Flatten(), L.Dense(3))], True),
        ([ending(L.Flatten(), L.Dense(3), L.Softmax())], False),
        ([L.Reshape((4, 16)), L.TimeDistributed(L.Dense(3)), L.GlobalMaxPooling1D()], True),
    ],
)
def test_logits_are_known_behind_layers_that_only_reshape_or_pool(layers, are_logits):
    model = ending(*layers)
    expected = keras.losses.CategoricalCrossentropy(from_logits=are_logits)(LABELS[0], model(IMAGES[0]))
    found = users_losses.as_loss("categorical_crossentropy", model)(model(IMAGES[0]), tf.constant(LABELS[0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if are_logits:
        with pytest.raises(UserError, match="takes probabilities"):
            users_losses.as_loss(keras.losses.CategoricalCrossentropy(), model)


@pytest.mark.parametrize("loss", ["binary_crossentropy", keras.losses.BinaryCrossentropy(from_logits=True)])
@pytest.mark.parametrize("metric", ["binary_accuracy", "BinaryAccuracy", "Precision", "recall"])
def test_metrics_by_name_compare_logits_with_0(loss, metric):
    assert as_metric(metric, loss)(*BINARY) == 1


@pytest.mark.parametrize(
    "metric", [keras.metrics.BinaryAccuracy(), keras.metrics.binary_accuracy, keras.metrics.Recall(), "BinaryIoU"]
)
def test_metrics_that_compare_logits_with_a_probability_are_refused(metric):
    with pytest.raises(UserError, match="compares probabilities with a threshold, but the loss takes logits"):
        as_metric(metric, "binary_crossentropy")
    as_metric(metric, "mse")  # accepted, as these outputs are near 0 and 1


@pytest.mark.parametrize("metric", ["binary_accuracy", "Precision", keras.metrics.Recall(class_id=1)])
@pytest.mark.parametrize("loss", [losses.SoftmaxCrossEntropy(), "categorical_crossentropy"])
def test_thresholds_beside_logits_of_classes_are_refused(metric, loss):
    with pytest.raises(UserError, match="but the loss takes logits: take 'accuracy', or end the model in a softmax"):
        as_metric(metric, loss)


def test_what_takes_probabilities_takes_the_logits_of_the_loss_of_any_model():
    loss = users_losses.as_loss(keras.losses.BinaryCrossentropy(from_logits=True))
    np.testing.assert_allclose(users_losses.as_accuracy("AUC", None, loss)(*BINARY), 1, rtol=1e-6)
    with pytest.raises(UserError, match="AUC takes probabilities"):
        users_losses.as_accuracy(keras.metrics.AUC(), None, loss)


@pytest.mark.parametrize(
    "metric",
    [keras.metrics.Recall(thresholds=0), functools.partial(keras.metrics.binary_accuracy, threshold=0.0), "AUC"],
)
def test_a_threshold_of_0_and_what_takes_logits_are_left_alone(metric):
    np.testing.assert_allclose(as_metric(metric, "binary_crossentropy")(*BINARY), 1, rtol=1e-6)


CROSS_ENTROPY = keras.losses.sparse_categorical_crossentropy


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_masked_values_do_not_count(dtype):
    words, classes = np.array([[1, 2, 0, 0], [3, 0, 0, 0]]), tf.constant([[0, 1, 2, 0], [1, 2, 0, 1]])
    keras.utils.set_random_seed(0)
    embedding = L.Embedding(5, 4, embeddings_initializer="normal", mask_zero=True, dtype=dtype)
    pure = PureModel(
        keras.Sequential([keras.Input((4,), dtype="int32"), embedding, L.Dense(3, "softmax", dtype=dtype)])
    )
    outputs = pure(pure.adapted, [], [], tf.constant(words))[0]
    by_function, by_name = keras.losses.sparse_categorical_crossentropy, "sparse_categorical_crossentropy"
    values = by_function(classes, outputs).numpy()
    expected = values[words > 0].mean()
    assert abs(expected - values.mean()) > 1e-3
    for loss in (by_function, by_name, keras.losses.SparseCategoricalCrossentropy()):
        np.testing.assert_allclose(users_losses.as_loss(loss)(outputs, classes), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error])
def test_a_loss_of_one_output_is_refused_for_several(loss):
    listed = [tf.ones([3, 1]), tf.ones([3, 2])]
    for several in (listed, dict(zip("ab", listed, strict=True))):
        with pytest.raises(UserError, match="compares one output with one target, but the model has 2: give"):
            users_losses.as_loss(loss)(several, several)
    summed = users_losses.as_loss(lambda outputs, targets: sum(map(losses.mse, outputs, targets)))
    assert summed(listed, listed) == 0


def test_a_metric_called_loss_is_refused():
    with pytest.raises(UserError, match="a metric is called 'loss'"):
        as_metric({"loss": "mae"}, "mse")


def test_an_own_function_that_does_not_fit_is_told_in_one_sentence():
    own = users_losses.as_loss(users_losses.targets_first(lambda y_true, y_pred: y_true - y_pred))
    function = tf.function(own, autograph=False)  # as in a step
    with pytest.raises(UserError, match=r"cannot compare targets of int64 with outputs of float32 .*: give"):
        function(tf.ones([2]), tf.ones([2], tf.int64))
    with pytest.raises(TypeError, match="has no len"):  # other errors are left as they are
        users_losses.as_loss(users_losses.targets_first(lambda y_true, y_pred: len(None)))(tf.ones(2), tf.ones(2))


class Summed(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return sum(tf.reduce_mean((t - p) ** 2, -1) for t, p in zip(y_true, y_pred, strict=True))


class AboveOne(keras.metrics.MeanMetricWrapper):
    def __init__(self):
        super().__init__(lambda y_true, y_pred: tf.cast(tf.sigmoid(y_pred) > self.threshold, tf.float32), "above")
        self.threshold = 0.5


def test_own_subclasses_of_keras_are_called_as_they_are():
    several = [tf.ones([3, 1]), tf.ones([3, 1])]
    assert users_losses.as_loss(Summed())([2 * value for value in several], several) == 2
    np.testing.assert_allclose(as_metric(AboveOne(), "binary_crossentropy")(*BINARY), 2 / 3, rtol=1e-6)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize(
    "metric", ["accuracy", "sparse_categorical_accuracy", keras.metrics.SparseCategoricalAccuracy()]
)
def test_padding_counts_in_no_accuracy(metric, remat):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (1, 4, 6)), rng.integers(0, 3, (1, 4, 6))
    model = keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(5, 4, mask_zero=True), L.Dense(3)])
    hits = (np.argmax(model(x[0]), -1) == y[0])[x[0] > 0]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    maml = MAML(model, loss, accuracy=metric, remat=remat, task_axis="map", jit=False)
    np.testing.assert_allclose(maml.evaluate((x, y, x, y), 1)["support_accuracy"], [hits.mean()], rtol=1e-6)
    found = maml.train_step((x, y, x, y))
    np.testing.assert_allclose(found["pre_accuracy"], hits.mean(), rtol=1e-6)
    assert hits.mean() != (np.argmax(model(x[0]), -1) == y[0]).mean()


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (L.Rescaling(2.0), True),
        (L.Lambda(lambda x: x / 0.5), True),
        (L.Activation("softmax"), False),
        (L.Softmax(), False),
        (L.Activation("linear"), False),
        (keras.ops.sigmoid, False),
        (lambda x: keras.ops.squeeze(keras.ops.softmax(x[:, None]), 1), False),
        (lambda x: L.Average()([L.Softmax()(x), L.Softmax()(2 * x)]), False),
        (lambda x: L.Average()([L.Softmax()(x), x]), True),
        (lambda x: x / 0.5, True),
    ],
)
def test_a_name_says_what_it_takes_where_that_is_not_known(last, told):
    x = keras.Input((8, 8, 1))
    model = keras.Model(x, last(L.Dense(3)(L.Flatten()(x))))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        users_losses.as_loss("categorical_crossentropy", model)
    assert [("takes the model's outputs for probabilities" in str(w.message)) for w in caught] == [True] * told


def test_padding_counts_in_no_number_of_the_first_outputs():
    outputs = tf.constant([[[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]]])
    outputs._keras_mask = tf.constant([[True, False]])
    assert float(users_losses.of_first_outputs(2, losses.accuracy)(outputs, tf.constant([[0, 0]]))) == 1


def test_padding_counts_in_no_cross_entropy_of_ours():
    rng = np.random.default_rng(0)
    logits, mask = tf.constant(rng.normal(size=(4, 5, 3))), rng.random((4, 5)) < 0.6
    logits._keras_mask = tf.constant(mask)
    ids = rng.integers(0, 3, (4, 5))
    padded = np.where(mask, ids, -1)  # no class
    plain = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(plain, ids[..., None], -1)[..., 0][mask].sum()
    for labels in (ids, padded, np.eye(3)[ids]):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses.SoftmaxCrossEntropy(shots=1)(logits, tf.constant(labels))
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        assert np.all(np.any(tape.gradient(loss, logits).numpy() != 0, axis=-1) == mask)


def test_a_task_that_is_all_padding_has_an_accuracy_of_0():
    logits = tf.ones((4, 5, 3))
    logits._keras_mask = tf.zeros((4, 5), tf.bool)
    assert float(losses.accuracy(logits, tf.zeros((4, 5), tf.int32))) == 0


def test_a_partial_has_the_name_of_its_function():
    def scaled(metric, outputs, targets):
        return 2 * metric(outputs, targets)

    assert logits.name_of(functools.partial(scaled, keras.losses.mean_squared_error)) == "scaled"

    class Scaled:
        def __call__(self, scale, outputs, targets):
            return scale * losses.mse(outputs, targets)

    metrics = [functools.partial(scaled, losses.mse), functools.partial(Scaled(), 2), losses.mse]
    metrics.append(users_losses.targets_first(keras.losses.mean_absolute_error))
    assert list(keras_means.by_names(metrics)) == ["scaled", "Scaled", "mse", "mean_absolute_error"]
