"""Losses and metrics that users have, as functions (outputs, targets) -> scalar.

Ours in `losses`, Keras's losses and metrics, their names, or functions of their own.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from data_generators.errors import UserError, first_line
from maml_tf.backend import keras, tf
from maml_tf.checks import mask_of, refuse_outer_product
from maml_tf.losses import SoftmaxCrossEntropy, accuracy, mse


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


def as_loss(loss: Callable | str, model: keras.Model | None = None) -> Callable:
    """A function (outputs, targets) -> scalar.

    Args:
        loss: a loss or metric of Keras, one of its functions, or the name of one: called in Keras's own order (targets,
            outputs), and the mean taken where it gives a value for each example; or a function of one's own (outputs,
            targets) -> scalar, which is called as it is.
        model: whose outputs it takes. Where they are logits, a name such as "categorical_crossentropy" stands for the
            cross-entropy of logits, and an object or function with `from_logits=False` is refused. They are logits
            where the last layer of a model that has an Input has a linear activation; layers that only pool, reshape or
            drop are not counted.

    Where Keras's layers gave the outputs a mask, the mean is that of the values that are not masked.

    Raises:
        UserError: there is none of that name, it is nothing that can be called, or it takes other outputs.

    Example:
        >>> float(as_loss("mae")(tf.constant([[1.0], [2.0]]), tf.constant([[1.0], [4.0]])))
        1.0
    """
    return _as_function(loss, keras.losses.get, "loss", model)


def as_accuracy(
    metric: Callable | str | dict | None, model: keras.Model | None = None, loss: Callable | None = None
) -> Any:
    """As `as_loss`, of what is reported beside the loss; "accuracy" is `accuracy`, and None stays None.

    A dict of several by name becomes a tuple of pairs (name, function).

    Keras's own categorical accuracies are `accuracy` too, since their argmax cannot be vectorised over tasks. Beside a
    loss of logits, what `as_loss` made, a name such as "binary_accuracy" compares them with 0, the logit of 1/2.

    Raises:
        UserError: as of `as_loss`; a metric is called "loss"; or one compares logits with a probability.

    Example:
        >>> as_accuracy("accuracy") is accuracy
        True
    """
    if metric is None:
        return None
    if isinstance(metric, dict):
        if "loss" in metric:
            raise UserError("a metric is called 'loss', as the loss itself: give it another name")
        return tuple((name, as_accuracy(function, model, loss)) for name, function in metric.items())
    if isinstance(metric, str) and metric in ("accuracy", "acc"):
        return accuracy
    function = _as_function(metric, keras.metrics.get, "accuracy", model, _takes_logits(loss))
    of_keras = (*getattr(function, "args", ()), None)[0]
    return accuracy if of_keras in _FUNCTIONS or type(of_keras) in _METRICS else function


_FUNCTIONS = keras.metrics.categorical_accuracy, keras.metrics.sparse_categorical_accuracy
_METRICS = keras.metrics.CategoricalAccuracy, keras.metrics.SparseCategoricalAccuracy
_OF_VALUES = keras.metrics.Mean.update_state, keras.metrics.Sum.update_state


def _as_function(function, get, what, model, at_zero=False):
    by_name = isinstance(function, str)
    if isinstance(function, str | type):
        try:
            function = get(function)
        except (ValueError, TypeError) as error:
            raise UserError(f"Keras has no {what} {function!r}: give another name, or a function") from error
    if not callable(function):
        raise UserError(f"{what} must be a function (outputs, targets) -> scalar, or one of Keras, not {function!r}")
    if _takes_targets_first(function) and _takes_probabilities(function) and _ends_in_logits(model):
        if by_name:
            return _as_function(_of_logits(function), get, what, None, at_zero)
        raise UserError(
            f"{what} {_name(function)} takes probabilities, but the last layer of the model gives logits: give it "
            "from_logits=True, as keras.losses.CategoricalCrossentropy(from_logits=True), or end the model in a "
            "softmax, or a sigmoid for binary classes"
        )
    if at_zero and any(threshold > 0 for threshold in _thresholds(function)):
        if by_name and (same := _from_zero(function)):
            return _as_function(same, get, what, None)
        raise UserError(
            f"{what} {_name(function)} compares probabilities with a threshold, but the loss takes logits: give it a "
            "threshold of 0, as keras.metrics.Precision(thresholds=0), or its name alone; or end the model in a sigmoid"
        )
    if isinstance(function, keras.metrics.Metric):
        if type(function).update_state in _OF_VALUES:
            raise UserError(f"{what} {_name(function)} compares no outputs with targets: give another metric")
        return functools.partial(_of_metric, function)
    if _takes_targets_first(function):
        return functools.partial(in_keras_order, function)
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
    return functools.partial(in_keras_order, function)


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


def _takes_probabilities(function):
    """Whether it is one of those that have `from_logits`, and has it False."""
    function = getattr(function, "__self__", function)
    for name in ("from_logits", "_from_logits"):  # the latter of AUC
        if hasattr(function, name):
            return not getattr(function, name)
    settings = inspect.signature(function).parameters if inspect.isroutine(_innermost(function)) else {}
    return "from_logits" in settings and not settings["from_logits"].default


def _of_logits(function):
    """The same cross-entropy, of logits."""
    if isinstance(function, keras.metrics.Metric | keras.losses.Loss):
        return type(function).from_config({**function.get_config(), "from_logits": True})
    return functools.partial(function, from_logits=True)


def _takes_logits(loss):
    """Whether it is a cross-entropy of logits, as `as_loss` gives it."""
    given = (*getattr(loss, "args", ()), loss)[0]
    from_logits = getattr(given, "keywords", {}).get("from_logits", False) or getattr(given, "from_logits", False)
    return isinstance(loss, SoftmaxCrossEntropy) or from_logits


def _thresholds(function):
    """The numbers that a metric of Keras compares outputs with, beyond which they count as positive."""
    if not _takes_targets_first(function) or getattr(function, "_from_logits", False):
        return []
    if inspect.isroutine(_innermost(function)):
        parameter = inspect.signature(function).parameters.get("threshold")
        return [] if parameter is None else [parameter.default]
    found = [getattr(function, name, None) for name in ("threshold", "thresholds")]
    return [threshold for threshold in tf.nest.flatten(found) if threshold is not None]


def _from_zero(function):
    """The same metric, which counts logits above 0 as positive; None where Keras has none."""
    if isinstance(function, keras.metrics.BinaryAccuracy) or function is keras.metrics.binary_accuracy:
        return functools.partial(keras.metrics.binary_accuracy, threshold=0.0)
    config = function.get_config() if isinstance(function, keras.metrics.Metric) else {}
    return type(function).from_config({**config, "thresholds": 0.0}) if "thresholds" in config else None


def _ends_in_logits(model):
    outputs = getattr(model, "outputs", None) or []  # of a model that has an Input
    return len(outputs) == 1 and _is_linear(*outputs[0]._keras_history)


def _is_linear(layer, node, index):
    """Whether an output of a layer of a model comes of a linear activation, and then only through `_THROUGH`."""
    if isinstance(layer, keras.Model):
        inner = getattr(layer, "outputs", None)
        return bool(inner) and _is_linear(*inner[index]._keras_history)
    if isinstance(layer, _THROUGH):
        return _is_linear(*layer._inbound_nodes[node].input_tensors[0]._keras_history)
    layer = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
    return getattr(layer, "activation", None) is keras.activations.linear


_KINDS = ["Reshape", "Flatten", "Permute", "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout"]
_KINDS += [f"SpatialDropout{n}D" for n in (1, 2, 3)] + [f"Cropping{n}D" for n in (1, 2, 3)]
_KINDS += [f"{how}{what}Pooling{n}D" for how in ("", "Global") for what in ("Average", "Max") for n in (1, 2, 3)]
_THROUGH = tuple(getattr(keras.layers, kind) for kind in _KINDS)


def _name(function):
    return getattr(_innermost(function), "__name__", type(function).__name__)


def _own(function, outputs, targets):
    refuse_outer_product(function, outputs, targets)
    return function(outputs, targets)


def in_keras_order(function: Any, outputs: Any, targets: Any) -> tf.Tensor:
    """The mean of what a function (targets, outputs) gives."""
    with _shapes_that_do_not_fit(function, outputs, targets):
        values = tf.convert_to_tensor(function(targets, outputs))
    mask = mask_of(outputs)
    if mask is None or mask.shape.rank != values.shape.rank:  # a loss that is an object has taken its mean itself
        return tf.reduce_mean(values)
    mask = tf.cast(mask, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask), tf.reduce_sum(mask))


def _of_metric(metric, outputs, targets):
    """A keras.metrics.Metric of one task, whose variables stay as they are."""
    with _shapes_that_do_not_fit(metric, outputs, targets):
        variables = metric.stateless_update_state(metric.stateless_reset_state(), targets, outputs)
        value = tf.convert_to_tensor(metric.stateless_result(variables))
    if value.shape.rank:
        raise UserError(f"{_name(metric)} gives {value.shape[0]} numbers, not one: give it average='macro'")
    return value


@contextlib.contextmanager
def _shapes_that_do_not_fit(function, outputs, targets):
    """Makes one sentence of what Keras says of them."""
    several = isinstance(outputs, dict | list | tuple) and any(map(tf.is_tensor, tf.nest.flatten(outputs)))
    if several and _takes_targets_first(function):
        raise UserError(
            f"{_name(function)} compares one output with one target, but the model has {len(outputs)}: give a function "
            "of all outputs and targets, which adds up what each of them costs"
        )
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        shapes = [getattr(value, "shape", None) for value in (targets, outputs)]
        raise UserError(
            f"{_name(function)} cannot compare targets of the shape {shapes[0]} with outputs of the shape {shapes[1]} "
            f"({first_line(error)}); class ids need a sparse loss or metric"
        ) from error
