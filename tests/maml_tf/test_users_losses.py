"""Tests of users' losses and accuracies: Keras's, by name, and their own; on one-hot labels and on class ids."""

import functools
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import losses, users_losses
from maml_tf.maml import MAML

K = keras.losses
LOGITS = np.array([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-2.0, 1.0, 0.0], [0.5, 0.4, 0.3]], np.float32)
IDS = np.array([0, 1, 1, 2])
ONE_HOT = np.eye(3, dtype=np.float32)[IDS]
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
CROSS_ENTROPY = -np.log(PROBABILITIES[np.arange(4), IDS]).mean()
ERROR = np.mean((LOGITS - ONE_HOT) ** 2)


class Mine(K.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_mean(3 * y_true - y_pred, -1)


@pytest.mark.parametrize(
    ("loss", "targets", "expected"),
    [
        ("mse", ONE_HOT, ERROR),
        (K.MeanSquaredError(), ONE_HOT, ERROR),
        (K.MeanSquaredError, ONE_HOT, ERROR),
        (K.MeanSquaredError(reduction=None), ONE_HOT, ERROR),
        (K.mean_squared_error, ONE_HOT, ERROR),
        (keras.metrics.MeanSquaredError(), ONE_HOT, ERROR),
        (tf.compat.v1.losses.mean_squared_error, ONE_HOT, ERROR),
        (K.MeanSquaredError(reduction="sum"), ONE_HOT, 4 * ERROR),
        (K.CategoricalCrossentropy(from_logits=True), ONE_HOT, CROSS_ENTROPY),
        (functools.partial(K.categorical_crossentropy, from_logits=True), ONE_HOT, CROSS_ENTROPY),
        (functools.partial(keras.ops.categorical_crossentropy, from_logits=True), ONE_HOT, CROSS_ENTROPY),
        (K.CategoricalCrossentropy(from_logits=True).call, ONE_HOT, CROSS_ENTROPY),
        (K.SparseCategoricalCrossentropy(from_logits=True), IDS, CROSS_ENTROPY),
        (functools.partial(K.sparse_categorical_crossentropy, from_logits=True), IDS, CROSS_ENTROPY),
        (Mine(), ONE_HOT, np.mean(3 * ONE_HOT - LOGITS)),
        (lambda outputs, targets: tf.reduce_mean(3 * outputs - targets), ONE_HOT, np.mean(3 * LOGITS - ONE_HOT)),
        (losses.SoftmaxCrossEntropy(4), IDS, CROSS_ENTROPY),
        (losses.SoftmaxCrossEntropy(4), IDS[:, None], CROSS_ENTROPY),
        (losses.SoftmaxCrossEntropy(4), np.eye(3, dtype=int)[IDS], CROSS_ENTROPY),
    ],
)
def test_a_loss_is_called_in_its_own_order(loss, targets, expected):
    found = users_losses.as_loss(loss)(tf.constant(LOGITS), tf.constant(targets))
    assert found.shape == ()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("metric", "targets", "expected"),
    [
        ("accuracy", ONE_HOT, 0.5),
        ("acc", IDS, 0.5),
        ("categorical_accuracy", ONE_HOT, 0.5),
        ("sparse_categorical_accuracy", IDS, 0.5),
        (keras.metrics.CategoricalAccuracy(), ONE_HOT, 0.5),
        (keras.metrics.SparseTopKCategoricalAccuracy(k=2), IDS, 0.75),
        (keras.metrics.categorical_accuracy, ONE_HOT, 0.5),
        (losses.accuracy, IDS[:, None], 0.5),
        (losses.accuracy, IDS.astype(np.float32), 0.5),
    ],
)
def test_an_accuracy_is_that_of_one_task(metric, targets, expected):
    function = users_losses.as_accuracy(metric)
    for _ in range(2):  # nothing is kept from one task to the next
        np.testing.assert_allclose(function(tf.constant(LOGITS), tf.constant(targets)), expected, rtol=1e-6)


def test_no_accuracy_stays_none():
    assert users_losses.as_accuracy(None) is None


@pytest.mark.parametrize("name", ["no_such_loss", 7])
def test_what_is_no_loss_is_refused(name):
    with pytest.raises(UserError, match=r"no_such_loss|must be a function"):
        users_losses.as_loss(name)
    with pytest.raises(UserError, match=r"no_such_loss|must be a function"):
        users_losses.as_accuracy(name)


def test_ids_that_are_no_class_do_not_count_as_another():
    ids = np.array([0, 1, 3, -1])
    assert np.isnan(losses.SoftmaxCrossEntropy(1)(LOGITS, ids))
    first = np.array([[9.0, 0.0, 0.0]] * 4, np.float32)
    assert losses.accuracy(first, ids) == 0.25  # only the first example is of class 0


@pytest.mark.parametrize("function", [losses.mse, losses.accuracy, losses.SoftmaxCrossEntropy(1)])
def test_targets_of_another_shape_are_refused(function):
    for targets in (np.zeros((4, 2)), np.zeros((3, 3)), np.zeros((4, 3, 1))):
        with pytest.raises(UserError, match="shape"):
            function(tf.constant(LOGITS), tf.constant(targets, tf.float32))


def test_accuracy_of_a_single_output_is_refused():
    with pytest.raises(UserError, match="binary_accuracy"):
        losses.accuracy(np.zeros((4, 1)), np.zeros((4, 1)))


def own_mse(outputs, targets):
    return tf.reduce_mean(tf.square(outputs - targets))


def test_an_own_loss_that_compares_each_target_with_every_output_is_refused():
    outputs, targets = tf.zeros([5, 1]), tf.zeros([5])
    with pytest.raises(UserError, match=r"targets of the shape \(5,\) do not fit outputs of the shape \(5, 1\)"):
        users_losses.as_loss(own_mse)(outputs, targets)
    assert users_losses.as_loss(lambda o, t: own_mse(o[:, 0], t))(outputs, targets) == 0
    assert users_losses.as_loss(lambda o, t: tf.reduce_sum(o) - tf.reduce_sum(t))(outputs, targets) == 0
    quantiles = users_losses.as_loss(lambda o, t: tf.reduce_mean(tf.abs(o - t)))  # [5, 9] against [5, 1] is intended
    assert quantiles(tf.zeros([5, 9]), tf.zeros([5, 1])) == 0


@pytest.mark.parametrize("settings", [{"task_axis": "vectorize", "jit": True}, {"task_axis": "map", "jit": False}])
@pytest.mark.parametrize("ids", [False, True])
def test_maml_trains_by_names(settings, ids):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 20, 4))
    labels = (x @ rng.normal(size=(6, 4, 3))).argmax(-1)
    y = labels if ids else np.eye(3)[labels]
    tasks = Tasks(x[:, :10], y[:, :10], x[:, 10:], y[:, 10:])
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    kind = K.SparseCategoricalCrossentropy if ids else K.CategoricalCrossentropy
    maml = MAML(model, kind(from_logits=True), accuracy="accuracy", optimizer="adam", step_size=0.5, **settings)
    metrics = maml.train_step(tasks)
    curves = maml.evaluate(tasks, 3)
    assert 0 < float(metrics["pre_loss"]) < 5
    assert curves["accuracies"][:, 3].mean() > curves["accuracies"][:, 0].mean() + 0.1
    assert (curves["losses"] > 0).all()


def exported(module, base):
    """Yields (name, loss or metric) for all that a Keras module exports, made with only the settings that it needs."""
    settings = {"fn": K.mean_squared_error, "num_classes": 3, "target_class_ids": [0]}
    settings |= dict.fromkeys(("precision", "recall", "sensitivity", "specificity"), 0.5)
    for name, kind in vars(module).items():
        if inspect.isfunction(kind) and name not in ("get", "serialize", "deserialize"):
            q = {"q": 0.5} if "q" in inspect.signature(kind).parameters else {}
            yield name, functools.partial(kind, **q)
        elif inspect.isclass(kind) and issubclass(kind, base) and kind not in (base, *OF_VALUES):
            average = {"average": "macro"} if name in ("F1Score", "FBetaScore") else {}
            wanted = inspect.signature(kind).parameters.items()
            needed = {key: settings[key] for key, value in wanted if value.default is value.empty and key in settings}
            yield name, kind(**needed, **average)


OF_VALUES = keras.metrics.Mean, keras.metrics.Sum
OF_SEQUENCES = "CTC", "ctc"
FUNCTIONS = [(users_losses.as_loss, *each) for each in exported(K, K.Loss)]
FUNCTIONS += [(users_losses.as_accuracy, *each) for each in exported(keras.metrics, keras.metrics.Metric)]


def directly(function, outputs, targets):
    """Returns the value that Keras computes by its own loss or metric."""
    if not isinstance(function, keras.metrics.Metric):
        return np.mean(function(targets, outputs))
    function.reset_state()
    function.update_state(targets, outputs)
    return np.asarray(function.result())


@pytest.mark.parametrize(
    ("taken", "name", "function"),
    [pytest.param(*each, id=f"{each[0].__name__}-{each[1]}") for each in FUNCTIONS if each[1] not in OF_SEQUENCES],
)
def test_everything_that_keras_exports_is_what_keras_gives(taken, name, function):
    takes_ids = name.lower().startswith(("sparse", "circle", "categorical_generalized", "categoricalgeneralized"))
    targets = IDS if takes_ids else ONE_HOT
    expected = directly(function, PROBABILITIES, targets)
    found = tf.function(taken(function), autograph=False)(tf.constant(PROBABILITIES), tf.constant(targets))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy"])
def test_a_cross_entropy_of_probabilities_is_refused_where_the_model_gives_logits(loss):
    def ending(*layers):
        return keras.Sequential([keras.Input((4,)), *layers])

    dense = keras.layers.Dense
    for wrong in (K.get(loss), functools.partial(K.get(loss), axis=-1)):
        with pytest.raises(UserError, match=f"{loss} takes probabilities, but the last layer of the model"):
            MAML(ending(dense(3)), wrong)
    for right in (ending(dense(3, "softmax")), ending(dense(3), keras.layers.Softmax()), ending(dense(3, "sigmoid"))):
        MAML(right, loss)
    MAML(ending(dense(3)), functools.partial(K.get(loss), from_logits=True))


BY_NAME = ["categorical_crossentropy", "binary_crossentropy", "categorical_focal_crossentropy"]


@pytest.mark.parametrize("name", [*BY_NAME, "binary_focal_crossentropy", "CategoricalCrossentropy"])
def test_a_cross_entropy_by_name_is_that_of_logits_where_the_model_gives_them(name):
    logits, targets = tf.constant(LOGITS), tf.constant(ONE_HOT)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    known = K.get(name)
    of_logits = (
        type(known)(from_logits=True) if isinstance(known, K.Loss) else functools.partial(known, from_logits=True)
    )
    expected = tf.reduce_mean(of_logits(targets, logits))
    np.testing.assert_allclose(MAML(model, name).loss(logits, targets), expected, rtol=1e-6)
    assert not np.allclose(users_losses.as_loss(name)(logits, targets), expected, rtol=1e-2)


def test_a_cross_entropy_of_ids_by_name_and_as_a_metric_is_that_of_logits_too():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    maml = MAML(model, "sparse_categorical_crossentropy", accuracy="categorical_crossentropy")
    loss = maml.loss(tf.constant(LOGITS), tf.constant(IDS))
    np.testing.assert_allclose(loss, CROSS_ENTROPY, rtol=1e-6)
    np.testing.assert_allclose(maml.accuracy(tf.constant(LOGITS), tf.constant(ONE_HOT)), CROSS_ENTROPY, rtol=1e-6)


def test_objects_of_probabilities_are_refused_too():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(UserError, match="loss CategoricalCrossentropy takes probabilities"):
        MAML(model, K.CategoricalCrossentropy())
    with pytest.raises(UserError, match="accuracy BinaryCrossentropy takes probabilities"):
        MAML(model, "mse", accuracy=keras.metrics.BinaryCrossentropy())
    MAML(
        model, K.CategoricalCrossentropy(from_logits=True), accuracy=keras.metrics.BinaryCrossentropy(from_logits=True)
    )


@pytest.mark.parametrize("metric", [keras.metrics.Mean(), keras.metrics.Sum, "mean"])
def test_a_metric_that_compares_nothing_is_refused(metric):
    with pytest.raises(UserError, match=r"compares no outputs with targets|Keras has no accuracy 'mean'"):
        users_losses.as_accuracy(metric)


def test_a_metric_of_several_numbers_and_targets_that_do_not_fit_are_refused_in_one_sentence():
    with pytest.raises(UserError, match="F1Score gives 3 numbers, not one"):
        users_losses.as_accuracy(keras.metrics.F1Score())(tf.constant(PROBABILITIES), tf.constant(ONE_HOT))
    for loss in ("categorical_crossentropy", K.KLDivergence(), keras.metrics.AUC()):
        with pytest.raises(UserError, match=r"targets of the shape \(4,\) with outputs of .*sparse loss"):
            users_losses.as_loss(loss)(tf.constant(PROBABILITIES), tf.constant(IDS))


def test_auc_of_logits_is_told_so():
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(UserError, match="AUC takes probabilities"):
        users_losses.as_accuracy(keras.metrics.AUC(), net)
    outputs, targets = tf.constant([[-3.0], [-2.0], [-1.0]]), tf.constant([[0.0], [0.0], [1.0]])
    np.testing.assert_allclose(users_losses.as_accuracy("AUC", net)(outputs, targets), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["hinge", "squared_hinge", "categorical_hinge", "poisson", "kl_divergence", "mse", "mae", "huber", "log_cosh"],
)
def test_targets_without_their_last_axis_are_those_with_it_as_in_keras(name):
    """The bare functions compared every target with every output."""
    rng = np.random.default_rng(0)
    outputs = tf.constant(rng.uniform(0.1, 0.9, (4, 1)), tf.float32)
    targets = tf.constant([0.0, 1.0, 1.0, 0.0])
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile(loss=name)
    expected = model.evaluate(outputs, targets, verbose=0)
    for loss in (name, keras.losses.get(name)):
        for given in (targets, targets[:, None]):
            np.testing.assert_allclose(users_losses.as_loss(loss)(outputs, given), expected, rtol=1e-5)
    np.testing.assert_allclose(users_losses.as_loss(name)(outputs[:, 0], targets[:, None]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "accuracy",
    [
        lambda o, t: tf.reduce_mean(tf.cast(tf.equal(tf.round(tf.sigmoid(o)), t), tf.float32)),
        lambda o, t: tf.reduce_mean(tf.cast((o > 0) == (t > 0.5), tf.float32)),
        lambda o, t: tf.reduce_mean(tf.cast(o >= t, tf.float32)),
    ],
)
def test_a_comparison_of_every_target_with_every_output_is_refused(accuracy):
    outputs = tf.constant([[0.3], [-0.2], [0.4]])
    assert users_losses.as_accuracy(accuracy)(outputs, tf.constant([[1.0], [0.0], [1.0]])).shape == ()
    with pytest.raises(UserError, match="the loss would compare each target with every output"):
        users_losses.as_accuracy(accuracy)(outputs, tf.constant([1.0, 0.0, 1.0]))
