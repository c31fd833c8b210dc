"""Losses and accuracy of one task, as the original computes them (`utils.py` and `maml.py` of cbfinn/maml).

`as_loss` and `as_accuracy` take what users have: these, Keras's losses and metrics, their names, or functions of their
own.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.checks import refuse_outer_product


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
    query loss has the same divisor, whatever the number of queries: 75 times the mean for miniImagenet 1-shot.

    Args:
        shots: K, the support examples per class; default, the number of examples at hand divided by the ways.

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
        logits = tf.convert_to_tensor(logits)
        losses = tf.nn.softmax_cross_entropy_with_logits(_one_hot(labels, logits), logits)
        if self.shots is None:
            shots = tf.cast(tf.shape(logits)[0], logits.dtype) / logits.shape[-1]
        else:
            shots = tf.cast(self.shots, logits.dtype)
        return tf.reduce_sum(losses) / shots


def accuracy(logits: Any, labels: Any) -> tf.Tensor:
    """Fraction of the examples whose largest logit is at their label.

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
        raise UserError("accuracy needs an output for each class: for a single one, take keras.metrics.BinaryAccuracy")
    labels, are_ids = _labels(labels, logits)
    # An id that is no class is no hit, whatever the logits are.
    hits = tf.equal(tf.argmax(logits, axis=-1), labels if are_ids else tf.argmax(labels, axis=-1))
    return tf.reduce_mean(tf.cast(hits, logits.dtype))


def _one_hot(labels, logits):
    """Labels of the shape and dtype of the logits; those of ids that are no class are NaN, as the loss is then."""
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


def of_first_outputs(count: int, function: Callable | str) -> Callable:
    """A loss or accuracy of the first outputs alone, for tasks of fewer ways than the model has outputs.

    Args:
        count: of the outputs to use, M; the targets are one-hot of M, or class ids below M.
        function: as `as_loss` takes it.

    Returns:
        Function (outputs [examples, at least M], targets) -> scalar.

    Example:
        >>> float(of_first_outputs(2, accuracy)([[2.0, 1.0, 9.0], [0.0, 3.0, 9.0]], [0, 0]))
        0.5
    """
    return functools.partial(_of_first_outputs, count, as_loss(function))


def _of_first_outputs(count, function, outputs, targets):
    return function(tf.convert_to_tensor(outputs)[..., :count], tf.convert_to_tensor(targets))


def as_loss(loss: Callable | str) -> Callable:
    """A function (outputs, targets) -> scalar.

    Args:
        loss: a loss or metric of Keras, one of its functions, or the name of one: called in Keras's own order (targets,
            outputs), and the mean taken where it gives a value for each example; or a function of one's own (outputs,
            targets) -> scalar, which is called as it is.

    Raises:
        UserError: there is none of that name, or it is nothing that can be called.

    Example:
        >>> float(as_loss("mae")(tf.constant([[1.0], [2.0]]), tf.constant([[1.0], [4.0]])))
        1.0
    """
    return _as_function(loss, keras.losses.get, "loss")


def as_accuracy(metric: Callable | str | dict | None) -> Any:
    """As `as_loss`, of what is reported beside the loss; "accuracy" is `accuracy`, and None stays None.

    A dict of several by name becomes a tuple of pairs (name, function).

    Keras's own categorical accuracies are `accuracy` too, since their argmax cannot be vectorised over tasks.

    Example:
        >>> as_accuracy("accuracy") is accuracy
        True
    """
    if metric is None:
        return None
    if isinstance(metric, dict):
        return tuple((name, as_accuracy(function)) for name, function in metric.items())
    if isinstance(metric, str) and metric in ("accuracy", "acc"):
        return accuracy
    function = _as_function(metric, keras.metrics.get, "accuracy")
    of_keras = (*getattr(function, "args", ()), None)[0]
    return accuracy if of_keras in _FUNCTIONS or type(of_keras) in _METRICS else function


_FUNCTIONS = keras.metrics.categorical_accuracy, keras.metrics.sparse_categorical_accuracy
_METRICS = keras.metrics.CategoricalAccuracy, keras.metrics.SparseCategoricalAccuracy


def _as_function(function, get, what):
    if isinstance(function, str | type):
        try:
            function = get(function)
        except (ValueError, TypeError) as error:
            raise UserError(f"Keras has no {what} {function!r}: give another name, or a function") from error
    if not callable(function):
        raise UserError(f"{what} must be a function (outputs, targets) -> scalar, or one of Keras, not {function!r}")
    if isinstance(function, keras.metrics.Metric):
        return functools.partial(_of_metric, function)
    if _takes_targets_first(function):
        return functools.partial(_in_keras_order, function)
    return function if _is_ours(function) else functools.partial(_own, function)


def targets_first(function: Callable | str) -> Callable | str:
    """A loss or metric as Keras's users write it, in the form that `as_loss` takes.

    Args:
        function: one of one's own (targets, outputs), whose mean is taken where it gives a value for each example; all
            else that `as_loss` takes stays as it is, ours (outputs, targets) too.

    Example:
        >>> difference = targets_first(lambda y_true, y_pred: y_true - y_pred)
        >>> float(as_loss(difference)(tf.constant([1.0]), tf.constant([4.0])))
        3.0
    """
    is_known = not callable(function) or isinstance(function, type | keras.metrics.Metric) or _is_ours(function)
    if is_known or _takes_targets_first(function):
        return function
    return functools.partial(_in_keras_order, function)


def _is_ours(function):
    return _innermost(function) in (mse, accuracy, _of_first_outputs) or isinstance(function, SoftmaxCrossEntropy)


def _innermost(function):
    """The function of a partial."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _takes_targets_first(function):
    """Whether it is one of Keras or TensorFlow, whose losses and metrics take (targets, outputs)."""
    function = _innermost(function)
    function = getattr(function, "__self__", function)  # a method of a loss
    for kind in (function, *type(function).__mro__):
        package, *modules = (getattr(kind, "__module__", None) or "").split(".")
        of_losses = {"losses", "metrics"} & set(modules) or "crossentropy" in getattr(kind, "__name__", "")
        if package in ("keras", "tf_keras", "tensorflow") and of_losses:
            return True
    return False


def _own(function, outputs, targets):
    refuse_outer_product(function, outputs, targets)
    return function(outputs, targets)


def _in_keras_order(function, outputs, targets):
    return tf.reduce_mean(function(targets, outputs))


def _of_metric(metric, outputs, targets):
    """A keras.metrics.Metric of one task, whose variables stay as they are."""
    variables = metric.stateless_update_state(metric.stateless_reset_state(), targets, outputs)
    return metric.stateless_result(variables)
