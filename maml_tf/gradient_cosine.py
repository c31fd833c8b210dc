"""How near the first-order meta-gradient is to the true one; the paper (section 5.2) lays their likeness to ReLU."""

import tensorflow as tf


def gradient_cosine(maml, tasks):
    """The cosine between the first- and the second-order meta-gradient of the initial weights, at the present weights.

    Both are means over the same tasks, before any clipping. Whether `maml` itself trains to first or second order makes
    no difference, and nothing of it changes. Learned step sizes are used, but are no part of the gradients.

    Args:
        maml: MAML.
        tasks: Tasks.

    Returns:
        A float64 scalar: 1 where second derivatives change nothing but the length; NaN where a gradient is zero.
    """
    first, second = (
        maml.meta_gradients_graph(tasks, first_order)[: len(maml.weights)] for first_order in (True, False)
    )
    return cosine(first, second)


def cosine(gradients, others):
    """The cosine of the angle between two lists of tensors, each taken as one long vector; a float64 scalar."""
    return _inner(gradients, others) / tf.sqrt(_inner(gradients, gradients) * _inner(others, others))


def _inner(tensors, others):
    # In float64, since it is the distance from 1 that tells, and rounding would hide it.
    pairs = zip(tensors, others, strict=True)
    return tf.add_n([tf.reduce_sum(tf.cast(a, tf.float64) * tf.cast(b, tf.float64)) for a, b in pairs])
