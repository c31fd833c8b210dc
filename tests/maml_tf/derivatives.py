"""Derivatives of the first to third order, for tests of operations with custom gradients."""

import numpy as np
import tensorflow as tf


def derivatives(function, x, weights):
    """Returns the first, second and third derivatives; each is the gradient of a weighted sum of the one before."""
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
