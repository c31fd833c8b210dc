"""Losses and accuracy of one task, as the original computes them (`utils.py` and `maml.py` of cbfinn/maml)."""

import tensorflow as tf


def mse(outputs, targets):
    """Mean squared error over all entries.

    Args:
        outputs: [examples, outputs] predictions.
        targets: [examples, outputs].

    Returns:
        A scalar.
    """
    return tf.reduce_mean(tf.square(outputs - targets))


def softmax_cross_entropy(logits, labels, shots):
    """Cross-entropy summed over the examples of a task and divided by the number of shots.

    The original divides each example's cross-entropy by the shots K and lets the gradient sum over the examples, so the
    loss of an N-way support set is N times the mean (a step size of 0.4 acts like 2.0 on the mean loss, for N = 5). The
    query loss has the same divisor, whatever the number of queries: 75 times the mean for miniImagenet 1-shot.

    Args:
        logits: [examples, ways].
        labels: [examples, ways] one-hot.
        shots: K, the support examples per class.

    Returns:
        A scalar.
    """
    return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(labels, logits)) / tf.cast(shots, logits.dtype)


def accuracy(logits, labels):
    """Fraction of the examples whose largest logit is at their label.

    Args:
        logits: [examples, ways].
        labels: [examples, ways] one-hot.

    Returns:
        A scalar between 0 and 1.
    """
    hits = tf.equal(tf.argmax(logits, axis=-1), tf.argmax(labels, axis=-1))
    return tf.reduce_mean(tf.cast(hits, logits.dtype))
