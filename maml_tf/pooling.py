"""2x2 max-pooling whose derivatives take about a third of the time of TensorFlow's own on CPU."""

import tensorflow as tf

from maml_tf.patches import crop


def max_pool_2x2(x):
    """2x2 max-pooling with VALID padding; the gradient goes to the first of equal maxima, as TensorFlow's does.

    Where the maxima are is found once, as a mask, for the gradient and for the gradients of the gradient.

    Args:
        x: [batch, height, width, channels].

    Returns:
        [batch, height // 2, width // 2, channels].
    """
    sizes = 2 * (x.shape[1] // 2), 2 * (x.shape[2] // 2)
    return _pool_even(x if sizes == tuple(x.shape[1:3]) else crop(x, (0, 0), sizes))


@tf.custom_gradient
def _pool_even(x):
    maximum = tf.nn.max_pool2d(x, 2, 2, "VALID")
    mask = tf.stop_gradient(_first_maxima(x, maximum))

    @tf.custom_gradient
    def spread(u):
        return mask * tf.repeat(tf.repeat(u, 2, axis=1), 2, axis=2), gather

    @tf.custom_gradient
    def gather(v):
        # The only number of each window, times 1/4, times 4: exact, and the fastest way to add up windows.
        return 4 * tf.nn.avg_pool2d(mask * v, 2, 2, "VALID"), spread

    return maximum, spread


def _first_maxima(x, maximum):
    """1 where x is the first in its window to equal the maximum, else 0; of the shape of x."""
    height, width, channels = maximum.shape[1:]
    windows = tf.reshape(x, [-1, height, 2, width, 2, channels])
    rows, taken = [], None
    for row in tf.unstack(windows, axis=2):
        masks = []
        for corner in tf.unstack(row, axis=3):
            equal = tf.equal(corner, maximum)
            masks.append(equal if taken is None else tf.logical_and(equal, tf.logical_not(taken)))
            taken = equal if taken is None else tf.logical_or(taken, equal)
        rows.append(tf.stack(masks, axis=3))
    return tf.cast(tf.reshape(tf.stack(rows, axis=2), tf.shape(x)), x.dtype)
