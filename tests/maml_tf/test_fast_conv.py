"""Tests that patches, convolutions and pooling agree with TensorFlow's own operations."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from maml_tf import fast_conv, layers
from maml_tf.fast_conv import crop, embed, max_pool_2x2, patches_3x3
from tests.maml_tf.derivatives import derivatives

RNG = np.random.default_rng(0)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(28, 28), (7, 7), (4, 5), (5, 4), (3, 2), (2, 1), (1, 1)])
def test_patches_times_kernel_is_the_convolution(size, strides, jit):
    x, kernel = tf.constant(RNG.normal(size=(2, *size, 3))), RNG.normal(size=(3, 3, 3, 4))
    expected = tf.nn.conv2d(x, kernel, strides, "SAME")
    patches = tf.function(patches_3x3, jit_compile=jit)(x, strides)
    assert patches.shape == (*expected.shape[:3], 27)
    np.testing.assert_allclose(patches @ kernel.reshape(27, 4), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (4, 5), (5, 4), (3, 2), (2, 1), (1, 1)])
def test_gathered_patches(size):
    x = tf.constant(RNG.normal(size=(2, *size, 3)))
    np.testing.assert_array_equal(fast_conv.patches_by_gathering(x), patches_3x3(x, 2))


def three_derivatives(convolution, x, kernel):
    """Returns y and three orders of derivatives by x and the kernel, each of the summed sines of the order before."""
    with tf.GradientTape() as third:
        third.watch((x, kernel))
        with tf.GradientTape() as second:
            second.watch((x, kernel))
            with tf.GradientTape() as first:
                first.watch((x, kernel))
                y = convolution(x, kernel)
                value = tf.reduce_sum(tf.sin(y))
            gradients = first.gradient(value, (x, kernel))
            value = sum(tf.reduce_sum(tf.sin(g)) for g in gradients)
        of_gradients = second.gradient(value, (x, kernel))
        value = sum(tf.reduce_sum(tf.sin(g)) for g in of_gradients)
    return y, *gradients, *of_gradients, *third.gradient(value, (x, kernel))


@pytest.mark.parametrize("batch", [3, None])
@pytest.mark.parametrize("size", [(14, 14), (7, 7), (4, 4), (5, 4), (3, 2), (2, 1), (1, 1)])
def test_convolution_with_products_for_the_kernels_gradient(size, batch):
    x, kernel = (tf.constant(RNG.normal(size=shape)) for shape in ((3, *size, 2), (3, 3, 2, 4)))

    def plain(x, kernel):
        return tf.nn.conv2d(x, kernel, 2, "SAME")

    expected = three_derivatives(plain, x, kernel)
    specs = tf.TensorSpec([batch, *size, 2], tf.float64), tf.TensorSpec(kernel.shape, tf.float64)
    by_products = tf.function(lambda *given: three_derivatives(fast_conv.convolution, *given), specs, autograph=False)
    for found, values in zip(by_products(x, kernel), expected, strict=True):
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-11 * np.abs(values).max())


@pytest.mark.parametrize(
    ("batch", "strides", "by_products"), [(5, 2, True), (20, 2, False), (None, 2, False), (5, 1, False)]
)
def test_a_layer_takes_products_for_few_small_images(batch, strides, by_products, monkeypatch):
    """In Omniglot's second layer, the patches of five images take 0.56 MB and those of twenty 2.3 MB."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    layer = layers.Conv2D(64, strides)
    layer.build((batch, 14, 14, 64))

    def gradient(x):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(value, layer.trainable_weights)

    graph = tf.function(gradient).get_concrete_function(tf.TensorSpec([batch, 14, 14, 64], tf.float32)).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert ("MatMul" in kinds, "Conv2DBackpropFilter" in kinds) == (by_products, not by_products)


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
    """The sum of w y^3, y being the window, has the derivative 3 w y^2; that of its sum weighted by v is 6 w v y."""
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


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (7, 5), (2, 3)])
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_as_tensorflows(size, levels, compiled, dtype, by_onednn, monkeypatch):
    """With few levels most windows hold equal maxima. Tests both forms, whichever is faster in this process."""
    monkeypatch.setattr(fast_conv, "_onednn_pools", lambda dtype: by_onednn)
    shape = (2, *size, 3)
    x = POOLING_RNG.normal(size=shape) if levels is None else POOLING_RNG.integers(1, levels + 1, shape)
    weights = [
        POOLING_RNG.normal(size=(2, size[0] // 2, size[1] // 2, 3)),
        POOLING_RNG.normal(size=shape),
        POOLING_RNG.normal(size=shape),
    ]
    x, *weights = (tf.constant(array, dtype) for array in (x, *weights))

    def run(pool):
        return [pool(x), *derivatives(lambda x: pool(x) ** 3, x, weights)]

    ours = tf.function(lambda: run(max_pool_2x2))() if compiled else run(max_pool_2x2)
    for actual, expected in zip(ours, run(stock), strict=True):
        np.testing.assert_allclose(actual, expected, rtol={"float64": 1e-14, "float32": 1e-6}[dtype])


@pytest.mark.parametrize("by_onednn", [False, True])
def test_the_graph_has_tensorflows_gradient_where_onednn_computes_it(by_onednn, monkeypatch):
    """Only oneDNN's gradient is faster than our mask. For the gradient's gradient, TensorFlow's is always slower."""
    monkeypatch.setattr(fast_conv, "_is_onednn_on", lambda: by_onednn)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])

    def operations(dtype):
        @tf.function
        def gradient(x):
            return derivatives(lambda x: max_pool_2x2(x) ** 3, x, [1.0, 1.0, 1.0])

        graph = gradient.get_concrete_function(tf.TensorSpec([1, 4, 4, 2], dtype)).graph
        return {op.type for op in graph.get_operations()} & {"MaxPool", "MaxPoolGrad", "MaxPoolGradGrad"}

    assert operations(tf.float32) == ({"MaxPool", "MaxPoolGrad"} if by_onednn else {"MaxPool"})
    assert operations(tf.float64) == {"MaxPool"}
