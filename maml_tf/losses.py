"""Losses and accuracy of one task, as the original computes them (`utils.py` and `maml.py` of cbfinn/maml)."""

import dataclasses
from typing import Any

from data_generators.errors import UserError
from maml_tf.backend import tf
from maml_tf.checks import mask_of


def mse(outputs: Any, targets: Any) -> tf.Tensor:
    """Mean squared error over all entries.

    Args:
        outputs: [examples, outputs] predictions.
        targets: [examples, outputs].

    Returns:
        A scalar.

    Raises:
        UserError: the shapes differ.

    Example:
        >>> float(mse([[1.0], [2.0]], [[1.0], [4.0]]))
        2.0
    """
    outputs = tf.convert_to_tensor(outputs)
    targets = tf.cast(targets, outputs.dtype)
    if not outputs.shape.is_compatible_with(targets.shape):
        raise UserError(f"the targets of a task have the shape {targets.shape}, but the outputs {outputs.shape}")
    return tf.reduce_mean(tf.square(outputs - targets))


@dataclasses.dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """Cross-entropy summed over the examples of a task and divided by the number of shots.

        loss(logits, labels) = -1/K sum_i log softmax(logits_i)[label_i]

    The original divides each example's cross-entropy by the shots K and lets the gradient sum over the examples, so the
    loss of an N-way support set is N times the mean (a step size of 0.4 acts like 2.0 on the mean loss, for N = 5). The
    query loss has the same divisor, whatever the number of queries: 75 times the mean for miniImagenet 1-shot. What
    Keras's layers masked does not count.

    Args:
        shots: K, the support examples per class; default, the number of examples in the call divided by the ways.

    Call arguments:
        logits: [examples, ways].
        labels: [examples, ways] one-hot, or class ids [examples] or [examples, 1].

    Raises:
        UserError: the labels have another shape.

    Example:
        >>> loss = SoftmaxCrossEntropy(shots=1)
        >>> round(float(loss([[0.0, 0.0], [0.0, 0.0]], [0, 1])), 4)  # 2 log 2
        1.3863
    """

    shots: int | None = None

    def __call__(self, logits: Any, labels: Any) -> tf.Tensor:
        """The loss of one task, a scalar."""
        logits, mask = tf.convert_to_tensor(logits), mask_of(logits)
        labels = _one_hot(labels, logits)
        counts = mask is not None and mask.shape.rank == logits.shape.rank - 1
        labels = tf.where(mask[..., None], labels, 0) if counts else labels  # padding may be no class
        losses = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        losses = losses * tf.cast(mask, losses.dtype) if counts else losses
        if self.shots is None:
            shots = tf.cast(tf.shape(logits)[0], logits.dtype) / logits.shape[-1]
        else:
            shots = tf.cast(self.shots, logits.dtype)
        return tf.reduce_sum(losses) / shots


def accuracy(logits: Any, labels: Any) -> tf.Tensor:
    """Fraction of the examples whose largest logit is at their label; what Keras's layers masked does not count.

    Args:
        logits: [examples, ways].
        labels: [examples, ways] one-hot, or class ids [examples] or [examples, 1].

    Returns:
        A scalar between 0 and 1.

    Raises:
        UserError: the labels have another shape, or there is a single logit, which is always the largest.

    Example:
        >>> float(accuracy([[2.0, 1.0], [0.0, 3.0]], [0, 0]))
        0.5
    """
    logits = tf.convert_to_tensor(logits)
    if logits.shape[-1] == 1:
        raise UserError("accuracy needs an output for each class: for a single one, take 'binary_accuracy'")
    labels, are_ids = _labels(labels, logits)
    # An id that is not a class never counts as a hit, whatever the logits are.
    hits = tf.equal(tf.argmax(logits, axis=-1), labels if are_ids else tf.argmax(labels, axis=-1))
    return masked_mean(tf.cast(hits, logits.dtype), mask_of(logits))


def masked_mean(values: tf.Tensor, mask: Any) -> tf.Tensor:
    """The mean of the values that a mask of their rank lets count; of all where there is no such mask.

    Example:
        >>> float(masked_mean(tf.constant([1.0, 2.0, 6.0]), tf.constant([True, True, False])))
        1.5
    """
    if mask is None or mask.shape.rank != values.shape.rank:
        return tf.reduce_mean(values)
    mask = tf.cast(mask, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask), tf.reduce_sum(mask))


def _one_hot(labels, logits):
    """Labels in the shape and dtype of the logits; an id that is not a class gives NaN, and so a loss of NaN."""
    labels, are_ids = _labels(labels, logits)
    if not are_ids:
        return tf.cast(labels, logits.dtype)
    known = tf.logical_and(labels >= 0, labels < logits.shape[-1])
    one_hot = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return tf.where(known[..., None], one_hot, tf.constant(float("nan"), logits.dtype))


def _labels(labels, logits):
    """(one-hot labels, False), or (class ids [examples], True)."""
    labels = tf.convert_to_tensor(labels)
    ways, rank = logits.shape[-1], logits.shape.rank
    if labels.shape.rank == rank and labels.shape[-1] == 1 != ways:
        labels = tf.squeeze(labels, -1)
    if labels.shape.rank == rank - 1:
        return tf.cast(labels, tf.int64), True
    if not labels.shape.is_compatible_with(logits.shape):
        raise UserError(
            f"the labels of a task have the shape {labels.shape}, which is neither that of the outputs, "
            f"{logits.shape}, nor one class id for each example"
        )
    return labels, False
