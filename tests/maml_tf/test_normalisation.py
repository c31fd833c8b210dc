"""Tests of normalisation: derivatives against plain formulas and finite differences, and digits kept in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maml_tf import layers, normalisation
from tests.maml_tf.derivatives import derivatives, relative_error

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape)


def plain(x, axes, epsilon):
    """Normalisation written so that automatic differentiation is right."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    return (x - mean) * tf.math.rsqrt(tf.reduce_mean((x - mean) ** 2, axes, keepdims=True) + epsilon)


def layer_of(kind):
    """Returns a built float64 normalisation layer, and the plain formula with the same weights."""
    layer = {"batch": layers.BatchNorm, "layer": layers.LayerNorm}[kind](dtype="float64")
    layer.build((None, 3, 2))
    for weight in layer.trainable_variables:
        weight.assign(random(*weight.shape))
    axes = [0, 1] if kind == "batch" else [1, 2]
    gamma = layer.gamma if kind == "layer" else 1.0
    return layer, lambda x: plain(x, axes, layer.epsilon) * gamma + layer.beta


def by_channel_moments(x):
    mean, variance = normalisation.channel_moments(x[:, None, None])
    return (x - mean) * tf.math.rsqrt(variance + 1e-3)


NORMALISERS = {
    "normalise": lambda: (lambda x: normalisation.normalise(x, 1e-3)[0], lambda x: plain(x, [0], 1e-3)),
    "normalise, in blocks": lambda: (lambda x: normalisation.normalise(x, 1e-3)[0], lambda x: plain(x, [0], 1e-3)),
    "moments": lambda: (
        lambda x: normalisation.moments(x, 0)[2] * normalisation.moments(x, 0)[1] ** -0.5,
        lambda x: plain(x, [0], 0),
    ),
    "channel_moments": lambda: (by_channel_moments, lambda x: plain(x, [0], 1e-3)),
    "BatchNorm": lambda: layer_of("batch"),
    "LayerNorm": lambda: layer_of("layer"),
}


def shape_for(name):
    return (7, 3, 2) if "Norm" in name else (300 if "blocks" in name else 7, 2)


@pytest.mark.parametrize("name", NORMALISERS)
def test_normalisation_and_three_derivatives(name):
    ours, formula = NORMALISERS[name]()
    shape = shape_for(name)
    x, weights = tf.constant(random(*shape)), [random(*shape) for _ in range(3)]
    np.testing.assert_allclose(ours(x), formula(x), rtol=1e-12, atol=1e-12)
    for actual, expected in zip(derivatives(ours, x, weights), derivatives(formula, x, weights), strict=True):
        assert relative_error(actual, expected) < 1e-11


@pytest.mark.parametrize("name", NORMALISERS)
def test_each_derivative_is_the_slope_of_the_one_before(name):
    ours, _ = NORMALISERS[name]()
    shape = shape_for(name)
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
    """This is the reason for our own layers. If it fails one day, Keras is repaired."""
    layer = stock(epsilon=1e-3, dtype="float64")
    axes = [0] if stock is keras.layers.BatchNormalization else [1]
    rng = np.random.default_rng(0)
    x, *weights = (tf.constant(rng.normal(size=(7, 4))) for _ in range(4))
    one, two, _ = derivatives(lambda x: layer(x, training=True) if axes == [0] else layer(x), x, weights)
    right_one, right_two, _ = derivatives(lambda x: plain(x, axes, 1e-3), x, weights)
    assert relative_error(one, right_one) < 1e-10
    assert relative_error(two, right_two) > 0.1


def test_normalise_keeps_its_digits_in_float32_under_xla():
    """XLA sums row after row; a meta-gradient of 5-way 5-shot Omniglot had a relative error of 1.3e-5 from that."""
    x = np.float32(3) + random(4900, 8).astype(np.float32)
    _, mean, variance = tf.function(lambda x: normalisation.normalise(x, 1e-3), jit_compile=True)(tf.constant(x))
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=3e-7)
    np.testing.assert_allclose(variance, x.var(0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_moments_keep_their_digits_in_float32(jit):
    """A plain float32 sum over so many positions loses two digits."""
    x = np.float32(10) + random(75, 84, 84, 2).astype(np.float32)
    mean, variance = tf.function(normalisation.channel_moments, jit_compile=jit)(tf.constant(x))
    np.testing.assert_allclose(mean, x.mean((0, 1, 2), dtype=np.float64), rtol=3e-7)
    np.testing.assert_allclose(variance, x.var((0, 1, 2), dtype=np.float64), rtol=1e-6)
