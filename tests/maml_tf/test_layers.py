"""Layers: values against NumPy, derivatives of every order against plain formulas and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maml_tf import layers, networks

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape)


def plain(x, axes, epsilon):
    """Normalisation written so that automatic differentiation is right."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    return (x - mean) * tf.math.rsqrt(tf.reduce_mean((x - mean) ** 2, axes, keepdims=True) + epsilon)


def derivatives(function, x, weights):
    """First, second and third derivative: at each order, of the weighted sum of what came before."""
    with tf.GradientTape() as third:
        third.watch(x)
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                value = tf.reduce_sum(weights[0] * function(x))
            one = first.gradient(value, x)
            value = tf.reduce_sum(weights[1] * one)
        two = second.gradient(value, x)
        value = tf.reduce_sum(weights[2] * two)
    return [one, two, third.gradient(value, x)]


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def layer_of(kind):
    """A built float64 normalisation layer as a function, beside the plain formula with the same weights."""
    layer = {"batch": layers.BatchNorm, "layer": layers.LayerNorm}[kind](dtype="float64")
    layer.build((None, 3, 2))
    for weight in layer.trainable_variables:
        weight.assign(random(*weight.shape))
    axes = [0, 1] if kind == "batch" else [1, 2]
    gamma = layer.gamma if kind == "layer" else 1.0
    return layer, lambda x: plain(x, axes, layer.epsilon) * gamma + layer.beta


NORMALISERS = {
    "normalise": lambda: (lambda x: layers.normalise(x, 1e-3)[0], lambda x: plain(x, [0], 1e-3)),
    "moments": lambda: (
        lambda x: layers.moments(x, 0)[2] * layers.moments(x, 0)[1] ** -0.5,
        lambda x: plain(x, [0], 0),
    ),
    "BatchNorm": lambda: layer_of("batch"),
    "LayerNorm": lambda: layer_of("layer"),
}


@pytest.mark.parametrize("name", NORMALISERS)
def test_normalisation_and_three_derivatives(name):
    ours, formula = NORMALISERS[name]()
    shape = (7, 3, 2) if "Norm" in name else (7, 2)
    x, weights = tf.constant(random(*shape)), [random(*shape) for _ in range(3)]
    np.testing.assert_allclose(ours(x), formula(x), rtol=1e-12, atol=1e-12)
    for actual, expected in zip(derivatives(ours, x, weights), derivatives(formula, x, weights), strict=True):
        assert relative_error(actual, expected) < 1e-11


@pytest.mark.parametrize("name", NORMALISERS)
def test_each_derivative_is_the_slope_of_the_one_before(name):
    ours, _ = NORMALISERS[name]()
    shape = (7, 3, 2) if "Norm" in name else (7, 2)
    x, weights, direction, h = random(*shape), [random(*shape) for _ in range(3)], random(*shape), 1e-5

    def weighted_sums(x):
        x = tf.constant(x)
        below = [ours(x), *derivatives(ours, x, weights)[:2]]
        return np.array([np.sum(w * b.numpy()) for w, b in zip(weights, below, strict=True)])

    slopes = (weighted_sums(x + h * direction) - weighted_sums(x - h * direction)) / (2 * h)
    expected = [np.sum(d.numpy() * direction) for d in derivatives(ours, tf.constant(x), weights)]
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


@pytest.mark.parametrize("stock", [keras.layers.BatchNormalization, keras.layers.LayerNormalization])
def test_stock_normalisation_has_a_right_first_and_a_wrong_second_derivative(stock):
    """The reason for our own layers; should it fail one day, Keras is mended."""
    layer = stock(epsilon=1e-3, dtype="float64")
    axes = [0] if stock is keras.layers.BatchNormalization else [1]
    x, weights = tf.constant(random(7, 4)), [random(7, 4) for _ in range(3)]
    one, two, _ = derivatives(lambda x: layer(x, training=True) if axes == [0] else layer(x), x, weights)
    right_one, right_two, _ = derivatives(lambda x: plain(x, axes, 1e-3), x, weights)
    assert relative_error(one, right_one) < 1e-10
    assert relative_error(two, right_two) > 0.1


def test_values_against_numpy():
    x = 3 + 2 * random(5, 4, 3, 2)
    batch_norm, layer_norm = layers.BatchNorm(epsilon=1e-2, dtype="float64"), layers.LayerNorm(dtype="float64")
    batch_norm.build(x.shape)
    layer_norm.build(x.shape)
    batch_norm.beta.assign([0.5, -2.0])
    layer_norm.beta.assign([0.5, -2.0])
    layer_norm.gamma.assign([3.0, 0.25])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-2) + [0.5, -2.0]
    np.testing.assert_allclose(batch_norm(x), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(batch_norm.mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(batch_norm.variance.numpy(), variance, rtol=1e-12)
    deviation = np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-12)
    expected = (x - x.mean((1, 2, 3), keepdims=True)) / deviation * [3.0, 0.25] + [0.5, -2.0]
    np.testing.assert_allclose(layer_norm(x), expected, rtol=1e-12, atol=1e-12)


def test_without_training_the_kept_statistics_normalise():
    layer = layers.BatchNorm(dtype="float64")
    first, second = random(6, 4, 4, 2), tf.constant(5 + 3 * random(2, 4, 4, 2))
    pooled = tf.nn.max_pool2d(second, 2, 2, "VALID")
    layer(first)
    for inputs, x in [((second,), second), ((second, pooled), pooled)]:
        expected = (x - first.mean((0, 1, 2))) / np.sqrt(first.var((0, 1, 2)) + 1e-3)
        np.testing.assert_allclose(layer(*inputs, training=False), expected, rtol=1e-12)
    np.testing.assert_allclose(layer.mean.numpy(), first.mean((0, 1, 2)), rtol=1e-12)


def test_pooling_first_is_normalising_and_rectifying_first():
    layer = layers.BatchNorm(dtype="float64")
    layer.build((None, 6, 6, 3))
    layer.beta.assign(random(3))

    def pool(x):
        return tf.nn.max_pool2d(x, 2, 2, "VALID")

    def pooled_first(x):
        return tf.nn.relu(layer(x, pool(x)))

    def pooled_last(x):
        return pool(tf.nn.relu(layer(x)))

    x = tf.constant(random(5, 6, 6, 3))
    weights = [random(5, 3, 3, 3), random(*x.shape), random(*x.shape)]
    assert 0 < np.mean(pooled_last(x) == 0) < 1
    np.testing.assert_allclose(pooled_first(x), pooled_last(x), rtol=1e-12, atol=1e-14)
    kept = [layer.mean.numpy(), layer.variance.numpy()]
    layer(2 * x)
    pooled_first(x)
    np.testing.assert_allclose([layer.mean.numpy(), layer.variance.numpy()], kept, rtol=1e-12)
    for first, last in zip(derivatives(pooled_first, x, weights), derivatives(pooled_last, x, weights), strict=True):
        assert relative_error(first, last) < 1e-11


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("jit", [False, True])
def test_both_forms_of_the_convolution_have_the_same_second_derivative(strides, jit):
    layer = layers.Conv2D(2, strides, dtype="float64")
    layer.build((None, 5, 4, 3))
    layer.bias.assign([0.5, -1.0])
    x = tf.constant(random(2, 5, 4, 3))
    weights = [random(*layer(x).shape), random(*x.shape), random(*x.shape)]

    def squared(x):
        return layer(x) ** 2

    @tf.function(jit_compile=jit)
    def vectorised(x):
        with layers.vectorizable():
            return [squared(x), *derivatives(squared, x, weights)[:2]]

    for actual, expected in zip(vectorised(x), [squared(x), *derivatives(squared, x, weights)[:2]], strict=True):
        assert relative_error(actual, expected) < 1e-12


@pytest.mark.parametrize("size", [(4, 6), (7, 7), (2, 3)])
@pytest.mark.parametrize("jit", [False, True])
def test_both_forms_of_max_pooling(size, jit):
    x = tf.constant(random(2, *size, 3))
    pool = layers.MaxPool2x2(dtype="float64")
    weights = [random(2, size[0] // 2, size[1] // 2, 3), random(2, *size, 3), random(2, *size, 3)]

    def cubed(x):
        return pool(x) ** 3

    @tf.function(jit_compile=jit)
    def vectorised(x):
        with layers.vectorizable():
            return [cubed(x), *derivatives(cubed, x, weights)]

    even = x.numpy()[:, : size[0] // 2 * 2, : size[1] // 2 * 2]
    windows = even.reshape(2, size[0] // 2, 2, size[1] // 2, 2, 3)
    np.testing.assert_array_equal(pool(x), windows.max((2, 4)))
    for actual, expected in zip(vectorised(x), [cubed(x), *derivatives(cubed, x, weights)], strict=True):
        assert relative_error(actual, expected) < 1e-12


@pytest.mark.parametrize(
    "build",
    [
        lambda: networks.conv4((32, 32, 1), 5, 4, "batch_norm", max_pool=True, flatten=True),
        lambda: networks.conv4((14, 14, 1), 5, 4, "layer_norm"),
        lambda: networks.mlp((1,), 1, (8, 8), "batch_norm"),
        lambda: networks.mlp((4, 3), 2, (8,), "layer_norm", dtype="float64"),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # inside Keras
def test_saving_and_loading_a_network(build, tmp_path):
    model = build()
    for weight in model.weights:
        weight.assign(np.abs(random(*weight.shape)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.get_config() for layer in loaded.layers[1:]] == [layer.get_config() for layer in model.layers[1:]]
    assert [w.path for w in loaded.weights] == [w.path for w in model.weights]
    x = random(6, *model.input_shape[1:])
    for training in (False, True):
        np.testing.assert_array_equal(loaded(x, training=training), model(x, training=training))
