"""Compares meta-gradients with central finite differences in float64, for our networks and for users' own models."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import layers, losses, networks
from maml_tf.maml import MAML
from tests.maml_tf.small_models import conv2

STEP = 1e-6  # small, as a kink of ReLU or max-pooling within it spoils the slope; round-off is then about 1e-10
TOLERANCE = 1e-6


def random_tasks(input_shape, outputs, num_tasks=2, examples=6, vocabulary=None):
    """Returns random regression tasks; with a vocabulary, their inputs are integers below its size."""
    rng = np.random.default_rng(1)

    def inputs():
        shape = (num_tasks, examples, *input_shape)
        return rng.normal(size=shape) if vocabulary is None else rng.integers(vocabulary, size=shape, dtype="int32")

    def targets():
        return rng.normal(size=(num_tasks, examples, outputs))

    return Tasks(inputs(), targets(), inputs(), targets())


def randomise(model):
    """Assigns weights large enough for every layer to matter (most default ones are too small); returns the model."""
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return model


def query_loss(maml, tasks):
    """Returns the mean query loss after the inner updates of training; its gradient is the meta-gradient."""
    return maml.evaluate(tasks, maml.num_updates)["losses"][:, -1].mean()


def slopes_and_gradients(maml, tasks, plain=None):
    """Returns the query loss's slopes along a random direction of each meta-variable: measured, and by the gradient.

    Args:
        maml: MAML whose meta-gradient gives the slopes.
        tasks: Tasks.
        plain: MAML with the same variables that measures the slopes, where it is quicker to compile.
    """
    rng = np.random.default_rng(3)
    measured, computed = [], []
    for variable, gradient in zip(maml.meta_variables, maml.meta_gradients(tasks), strict=True):
        start, direction = variable.numpy(), rng.normal(size=variable.shape)
        above, below = [
            (variable.assign(start + sign * STEP * direction), query_loss(plain or maml, tasks))[1] for sign in (1, -1)
        ]
        variable.assign(start)
        measured.append((above - below) / (2 * STEP))
        computed.append(np.sum(gradient.numpy() * direction))
    return np.array(measured), np.array(computed)


def assert_exact(maml, tasks, plain=None):
    measured, computed = slopes_and_gradients(maml, tasks, plain)
    scale = np.abs(measured).max()
    assert scale > 1e-2
    np.testing.assert_allclose(computed, measured, rtol=TOLERANCE, atol=1e-8 * scale)
    return measured


@pytest.mark.parametrize("norm", networks.NORMS)
def test_mlp(norm):
    model = randomise(networks.mlp((3,), 2, (6,), norm, dtype="float64"))
    maml = MAML(model, losses.mse, step_size=0.05, num_updates=2, task_axis="map", jit=False)
    assert len(assert_exact(maml, random_tasks((3,), 2))) == len(model.trainable_variables)


def test_mlp_vectorised_and_compiled():
    model = randomise(networks.mlp((3,), 2, (8,), "batch_norm", dtype="float64"))
    maml = MAML(model, losses.mse, step_size=0.05, learn_step_size=True)
    assert (maml.task_axis, maml.jit) == ("vectorize", True)
    plain = MAML(model, losses.mse, step_size=list(maml.step_sizes), learn_step_size=True, task_axis="map", jit=False)
    assert_exact(maml, random_tasks((3,), 2), plain)


def test_learned_step_sizes():
    model = randomise(networks.mlp((3,), 2, (8, 6), "batch_norm", dtype="float64"))
    maml = MAML(model, losses.mse, step_size=0.05, num_updates=2, learn_step_size=True, task_axis="map", jit=False)
    for i, size in enumerate(maml.step_sizes):
        size.assign(0.01 * (i + 1))
    measured = assert_exact(maml, random_tasks((3,), 2))
    of_step_sizes = measured[len(maml.weights) :]
    assert len(of_step_sizes) == len(maml.pure.adapted) == 6
    # The biases before batch normalisation change nothing, and so neither do their step sizes.
    assert [abs(slope) > 1e-4 for slope in of_step_sizes] == [True, False, True, False, True, True]


@pytest.mark.parametrize(("norm", "max_pool"), [("batch_norm", True), ("layer_norm", False), ("None", False)])
def test_conv4(norm, max_pool):
    """Uses one update, and no blocks like the second, since the goldens test two updates of the whole network."""
    model = randomise(conv2((16, 16, 1), 3, 4, norm, max_pool, dtype="float64"))
    maml = MAML(model, losses.mse, step_size=0.05, task_axis="map", jit=False)
    assert_exact(maml, random_tasks((16, 16, 1), 3))


def test_first_order_leaves_second_derivatives_out():
    tasks, gradients = random_tasks((3,), 2), []
    for first_order in (False, True):
        model = randomise(networks.mlp((3,), 2, (8,), dtype="float64"))
        way = {} if first_order else {"task_axis": "map", "jit": False}  # XLA takes long to compile the second order
        maml = MAML(model, losses.mse, step_size=0.1, num_updates=2, first_order=first_order, **way)
        gradients.append(maml.meta_gradients(tasks))
    expected = [0.0] * len(gradients[1])
    for x, y, query_x, query_y in zip(*tasks, strict=True):
        adapted = maml.adapt(x, y)
        with tf.GradientTape() as tape:
            tape.watch(adapted.params)
            loss = losses.mse(maml.pure(adapted.params, [], [], query_x)[0], query_y)
        expected = [e + g.numpy() / 2 for e, g in zip(expected, tape.gradient(loss, adapted.params), strict=True)]
    for second, first, at_fast_weights in zip(*gradients, expected, strict=True):
        np.testing.assert_allclose(first, at_fast_weights, rtol=1e-12)
        assert np.linalg.norm(second - first) > 1e-2 * np.linalg.norm(first)


@pytest.mark.parametrize("bias_cancels", [False, True])
def test_a_bias_before_batch_norm_has_no_meta_gradient(bias_cancels):
    inputs = keras.Input((6, 6, 2), dtype="float64")
    x = layers.Conv2D(3, bias_cancels=bias_cancels, dtype="float64")(inputs)
    x = keras.layers.Flatten(dtype="float64")(keras.layers.ReLU(dtype="float64")(layers.BatchNorm(dtype="float64")(x)))
    model = randomise(keras.Model(inputs, keras.layers.Dense(2, dtype="float64")(x)))
    maml = MAML(model, losses.mse, step_size=0.05, num_updates=2)
    kernel, bias, *_ = maml.meta_gradients(random_tasks((6, 6, 2), 2))
    assert np.abs(kernel).max() > 1e-2
    assert np.abs(bias).max() <= (0 if bias_cancels else 1e-13)


class UsersCNN(keras.Model):
    """A subclassed network as a user may write it, with dropout, and with a stock or our own normalisation."""

    def __init__(self, norm):
        super().__init__(dtype="float64")
        self.conv = keras.layers.Conv2D(4, 3, strides=2, activation="tanh", dtype="float64")
        self.norm = norm
        self.dropout = keras.layers.Dropout(0.3, seed=5, dtype="float64")
        self.dense = keras.layers.Dense(2, dtype="float64")

    def call(self, x, training=None):
        x = self.dropout(tf.nn.softplus(self.norm(self.conv(x), training=training)), training=training)
        return self.dense(tf.reshape(x, [-1, 9 * 4]))


def users_cnn(norm):
    model = UsersCNN(norm)
    model(np.zeros((1, 7, 7, 1)))
    return randomise(model)


def test_subclassed_network_with_dropout_and_our_normalisation():
    maml = MAML(users_cnn(layers.BatchNorm(dtype="float64")), losses.mse, step_size=0.05, num_updates=2)
    assert maml.task_axis == "map"
    assert_exact(maml, random_tasks((7, 7, 1), 2))


def test_stock_batch_normalisation_follows_a_wrong_meta_gradient_and_says_so():
    """If this fails one day, Keras is repaired and the warning can be removed."""
    stock = keras.layers.BatchNormalization(dtype="float64")
    with pytest.warns(UserWarning, match="wrong second derivatives"):
        maml = MAML(users_cnn(stock), losses.mse, step_size=0.05)
    measured, computed = slopes_and_gradients(maml, random_tasks((7, 7, 1), 2))
    assert np.abs(computed / measured - 1).max() > 1e-2


def test_embedding():
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(9, 3, dtype="float64")(inputs)
    x = keras.layers.Dense(5, activation="tanh", dtype="float64")(keras.layers.Flatten(dtype="float64")(x))
    model = randomise(keras.Model(inputs, keras.layers.Dense(2, dtype="float64")(x)))
    assert_exact(MAML(model, losses.mse, step_size=0.1, num_updates=2), random_tasks((4,), 2, vocabulary=9))


def test_lstm():
    inputs = keras.Input((4, 2), dtype="float64")
    x = keras.layers.LSTM(3, dtype="float64")(inputs)
    model = randomise(keras.Model(inputs, keras.layers.Dense(2, dtype="float64")(x)))
    assert_exact(MAML(model, losses.mse, step_size=0.1), random_tasks((4, 2), 2))


def test_two_branches_that_share_a_layer():
    inputs = keras.Input((6,), dtype="float64")
    shared = keras.layers.Dense(4, activation="tanh", dtype="float64")
    branches = [shared(inputs[:, :3]), shared(inputs[:, 3:])]
    x = keras.layers.Multiply(dtype="float64")(branches)
    model = randomise(keras.Model(inputs, keras.layers.Dense(2, dtype="float64")(x)))
    assert_exact(MAML(model, losses.mse, step_size=0.1, num_updates=3), random_tasks((6,), 2))
