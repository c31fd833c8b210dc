"""Max-pooling against TensorFlow's own: values, derivatives of every order, and where the gradient of ties goes."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.pooling import max_pool_2x2
from tests.maml_tf.derivatives import derivatives

RNG = np.random.default_rng(0)


def stock(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (7, 5), (2, 3)])
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_as_tensorflows(size, levels, compiled):
    """With few levels most windows hold equal maxima."""
    shape = (2, *size, 3)
    x = tf.constant(RNG.normal(size=shape) if levels is None else RNG.integers(1, levels + 1, shape).astype(float))
    weights = [RNG.normal(size=(2, size[0] // 2, size[1] // 2, 3)), RNG.normal(size=shape), RNG.normal(size=shape)]

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
