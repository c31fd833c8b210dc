"""Losses and accuracy against numbers worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from maml_tf import losses

LOGITS = [[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(3)], [math.log(3), 0.0]]
LABELS = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
# Probabilities of the right class: 1/2, 3/4, 3/4, 1/4.
CROSS_ENTROPIES = [math.log(2), math.log(4 / 3), math.log(4 / 3), math.log(4)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True])
def test_mse_is_the_mean_over_all_entries(dtype, compiled):
    mse = tf.function(losses.mse) if compiled else losses.mse
    loss = mse(
        tf.constant([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]], dtype),
        tf.constant([[0.0, 2.0], [5.0, 1.0], [0.0, 0.0]], dtype),
    )
    assert loss.dtype == dtype
    assert loss.shape == ()
    np.testing.assert_allclose(loss, (1 + 0 + 4 + 9) / 6, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shots", [1, 2])
def test_cross_entropy_is_summed_over_examples_and_divided_by_shots(dtype, compiled, shots):
    function = losses.SoftmaxCrossEntropy(shots)
    function = tf.function(function) if compiled else function
    loss = function(tf.constant(LOGITS, dtype), tf.constant(LABELS, dtype))
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss, sum(CROSS_ENTROPIES) / shots, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_cross_entropy_of_a_support_set_is_ways_times_the_mean():
    ways, shots = 5, 3
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(ways * shots, ways)), np.eye(ways)[np.arange(ways * shots) % ways]
    mean = -np.mean(np.sum(labels * (logits - np.log(np.exp(logits).sum(1, keepdims=True))), axis=1))
    loss = losses.SoftmaxCrossEntropy(shots)(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(loss, ways * mean, rtol=1e-12)
    counted = losses.SoftmaxCrossEntropy()(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(counted, loss, rtol=1e-15)


def test_the_divisor_of_a_query_set_is_that_of_the_support_set():
    """miniImagenet 1-shot: 75 query images, and the loss is 75 times the mean."""
    logits, labels = tf.zeros([75, 5]), tf.one_hot(np.arange(75) % 5, 5)
    np.testing.assert_allclose(losses.SoftmaxCrossEntropy(1)(logits, labels), 75 * math.log(5), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy_is_the_fraction_of_largest_logits_at_their_label(dtype):
    accuracy = losses.accuracy(tf.constant([[0.1, 0.9, 0.0], [2, 1, 0], [-3, -2, -1]], dtype), tf.eye(3, dtype=dtype))
    assert accuracy.dtype == dtype
    np.testing.assert_allclose(accuracy, 1 / 3, rtol=1e-6)
    assert losses.accuracy(tf.eye(3, dtype=dtype), tf.eye(3, dtype=dtype)) == 1
    assert losses.accuracy(-tf.eye(3, dtype=dtype), tf.eye(3, dtype=dtype)) == 0
