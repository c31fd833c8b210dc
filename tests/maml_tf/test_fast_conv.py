"""Patches and pooling agree with TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.fast_conv import crop, embed, max_pool_2x2, patches_3x3
from tests.maml_tf.derivatives import derivatives

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(28, 28), (7, 7), (4, 5), (5, 4), (3, 2), (2, 1), (1, 1)])
def test_patches_times_kernel_is_the_convolution(size, strides, jit):
    x, kernel = tf.constant(RNG.normal(size=(2, *size, 3))), RNG.normal(size=(3, 3, 3, 4))
    expected = tf.nn.conv2d(x, kernel, strides, "SAME")
    patches = tf.function(patches_3x3, jit_compile=jit)(x, strides)
    assert patches.shape == (*expected.shape[:3], 27)
    np.testing.assert_allclose(patches @ kernel.reshape(27, 4), expected, rtol=1e-12, atol=1e-12)


def numpy_crop(x):
    return x[:, 1:4, 2:4]


def numpy_embed(x):
    return np.pad(x, [(0, 0), (1, 6 - 1 - x.shape[1]), (2, 5 - 2 - x.shape[2]), (0, 0)])


FORMS = {
    "crop": (lambda x: crop(x, (1, 2), (3, 2)), numpy_crop, numpy_embed, (2, 6, 5, 3), (2, 3, 2, 3)),
    "embed": (lambda x: embed(x, (1, 2), (6, 5)), numpy_embed, numpy_crop, (2, 3, 2, 3), (2, 6, 5, 3)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("vectorised", [False, True])
def test_values_and_two_derivatives(form, jit, vectorised):
    """Of the sum of w y^3, y being the window: 3 w y^2, and, with weights v, the sum of 6 w v y."""
    function, forward, backward, x_shape, y_shape = FORMS[form]
    x, v, w = (RNG.normal(size=(4, *shape)) for shape in (x_shape, x_shape, y_shape))

    def of_one(element):
        x, v, w = element
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
                value = tf.reduce_sum(w * y**3)
            first = inner.gradient(value, x)
            product = tf.reduce_sum(v * first)
        return y, first, outer.gradient(product, x)

    def of_all(*elements):
        if vectorised:
            return tf.vectorized_map(of_one, elements, fallback_to_while_loop=False)
        return [tf.stack(parts) for parts in zip(*map(of_one, zip(*map(tf.unstack, elements))))]  # noqa: B905

    results = tf.function(of_all, jit_compile=jit)(*map(tf.constant, (x, v, w)))
    for i in range(4):
        y = forward(x[i])
        expected = y, backward(3 * w[i] * y**2), backward(6 * w[i] * forward(v[i]) * y)
        for actual, right in zip(results, expected, strict=True):
            np.testing.assert_allclose(actual[i], right, rtol=1e-12, atol=1e-15)


POOLING_RNG = np.random.default_rng(0)


def stock(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (7, 5), (2, 3)])
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_as_tensorflows(size, levels, compiled):
    """With few levels most windows hold equal maxima."""
    shape = (2, *size, 3)
    x = tf.constant(
        POOLING_RNG.normal(size=shape) if levels is None else POOLING_RNG.integers(1, levels + 1, shape).astype(float)
    )
    weights = [
        POOLING_RNG.normal(size=(2, size[0] // 2, size[1] // 2, 3)),
        POOLING_RNG.normal(size=shape),
        POOLING_RNG.normal(size=shape),
    ]

    def run(pool):
        return [pool(x), *derivatives(lambda x: pool(x) ** 3, x, weights)]

    ours = tf.function(lambda: run(max_pool_2x2))() if compiled else run(max_pool_2x2)
    for actual, expected in zip(ours, run(stock), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_the_graph_is_without_tensorflows_gradients():
    @tf.function
    def gradient(x):
        return derivatives(lambda x: max_pool_2x2(x) ** 3, x, [1.0, 1.0, 1.0])

    operations = {op.type for op in gradient.get_concrete_function(tf.TensorSpec([1, 4, 4, 2])).graph.get_operations()}
    assert "MaxPool" in operations
    assert not {"MaxPoolGrad", "MaxPoolGradGrad"} & operations
