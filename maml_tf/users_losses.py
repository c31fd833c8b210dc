"""Converts losses and metrics that users give to functions (outputs, targets) -> scalar.

Users may give our losses in `losses`, losses and metrics of Keras, their names, or their own functions.
"""

import contextlib
import functools
import inspect
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_generators.errors import UserError, first_line
from maml_tf.backend import keras, tf
from maml_tf.checks import mask_of, refuse_outer_product, with_mask_of
from maml_tf.logits import (
    ADVICE,
    BINARY,
    ends_in_logits,
    from_zero,
    innermost,
    is_keras_own,
    name_of,
    of_logits,
    takes_logits,
    takes_probabilities,
    takes_targets_first,
    thresholds,
)
from maml_tf.losses import SoftmaxCrossEntropy, accuracy, masked_mean, mse


def of_first_outputs(count: int, function: Callable | str) -> Callable:
    """Returns a loss or accuracy of only the first outputs, for tasks of fewer ways than the model has outputs.

    Args:
        count: number M of outputs to use; the targets are one-hot of M, or class ids below M.
        function: loss or accuracy, as `as_loss` takes it.

    Returns:
        Function (outputs [examples, at least M], targets) -> scalar.

    Example:
        >>> float(of_first_outputs(2, accuracy)([[2.0, 1.0, 9.0], [0.0, 3.0, 9.0]], [0, 0]))
        0.5
    """
    return functools.partial(_of_first_outputs, count, as_loss(function))


def _of_first_outputs(count, function, outputs, targets):
    outputs = tf.convert_to_tensor(outputs)
    return function(with_mask_of(outputs, outputs[..., :count]), tf.convert_to_tensor(targets))


def as_loss(loss: Callable | str, model: keras.Model | None = None) -> Callable:
    """Returns a loss as a function (outputs, targets) -> scalar.

    Args:
        loss: a loss or metric of Keras, one of Keras's functions, or the name of one: it is called in Keras's own order
            (targets, outputs), and its mean is taken if it gives a value for each example. Or the user's own function
            (outputs, targets) -> scalar, which is called as it is.
        model: model whose outputs the loss takes. If they are logits, a name such as "categorical_crossentropy" stands
            for the cross-entropy of logits, and an object or function with `from_logits=False` is refused. They are
            logits if the last layer of a model that has an Input has a linear activation; layers that only pool,
            reshape or drop are not counted.

    If Keras's layers gave the outputs a mask, and the loss gives a value for each element of the mask, masked values do
    not count.

    Raises:
        UserError: there is no loss of that name, the loss cannot be called, or it takes other outputs than the model's.

    Example:
        >>> float(as_loss("mae")(tf.constant([[1.0], [2.0]]), tf.constant([[1.0], [4.0]])))
        1.0
    """
    found = _as_function(loss, keras.losses.get, "loss", model)
    if may_read_weights(found):
        _make_global_seed()
    return found


def as_accuracy(
    metric: Callable | str | dict | None, model: keras.Model | None = None, loss: Callable | None = None
) -> Any:
    """Does the same as `as_loss` for a metric to report; "accuracy" gives `accuracy`, and None stays None.

    A dict of several by name becomes a tuple of pairs (name, function).

    Keras's own categorical accuracies become `accuracy` too, since their argmax cannot be vectorised over tasks. Beside
    Keras's binary cross-entropy of logits, as `as_loss` returns it, the names "binary_accuracy", "Precision" and
    "Recall" compare logits with 0, the logit of the probability 1/2.

    Raises:
        UserError: as for `as_loss`; a metric is called "loss"; or a metric compares logits with a probability.

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
    function = _as_function(metric, keras.metrics.get, "accuracy", model, takes_logits(loss))
    of_keras = (*getattr(function, "args", ()), None)[0]
    return accuracy if of_keras in _FUNCTIONS or type(of_keras) in _METRICS else function


_FUNCTIONS = keras.metrics.categorical_accuracy, keras.metrics.sparse_categorical_accuracy
_METRICS = keras.metrics.CategoricalAccuracy, keras.metrics.SparseCategoricalAccuracy
_OF_VALUES = keras.metrics.Mean.update_state, keras.metrics.Sum.update_state


def _as_function(function, get, what, model, logits=None):
    """See `as_loss`; logits: `BINARY` or `CLASSES`, the kind of logits that the loss takes; None if not known."""
    by_name = isinstance(function, str)
    if isinstance(function, str | type):
        try:
            function = get(function)
        except (ValueError, TypeError) as error:
            raise UserError(f"Keras has no {what} {function!r}: give another name, or a function") from error
    if not callable(function):
        raise UserError(f"{what} must be a function (outputs, targets) -> scalar, or one of Keras, not {function!r}")
    are_logits = logits or ends_in_logits(model)
    if by_name and are_logits is None and takes_targets_first(function) and takes_probabilities(function):
        warnings.warn(
            f"{what} {name_of(function)} takes the model's outputs for probabilities, as in Keras, but its last layer "
            "may give logits: give the object, with from_logits=True or False",
            stacklevel=_level_of_user(),
        )
    if are_logits and takes_targets_first(function) and takes_probabilities(function):
        if by_name:
            return _as_function(of_logits(function), get, what, None)
        raise UserError(
            f"{what} {name_of(function)} takes probabilities, but the last layer of the model gives logits: give it "
            "from_logits=True, as keras.losses.CategoricalCrossentropy(from_logits=True), or end the model in a "
            "softmax, or a sigmoid for binary classes"
        )
    if logits and any(threshold > 0 for threshold in thresholds(function)):
        if by_name and logits == BINARY and (same := from_zero(function)):
            return _as_function(same, get, what, None)
        raise UserError(
            f"{what} {name_of(function)} compares probabilities with a threshold, but the loss takes logits: "
            f"{ADVICE[logits]}"
        )
    if isinstance(function, keras.metrics.Metric):
        if type(function).update_state in _OF_VALUES:
            raise UserError(f"{what} {name_of(function)} compares no outputs with targets: give another metric")
        return functools.partial(_of_metric, function)
    if takes_targets_first(function):
        return functools.partial(in_keras_order, function)
    return function if _is_ours(function) else functools.partial(_own, function)


def _level_of_user():
    """The stack level of the user's line, for a warning by the function that calls this."""
    level, frame = 1, inspect.currentframe().f_back
    while frame.f_back and Path(frame.f_code.co_filename).parent == Path(__file__).parent:
        level, frame = level + 1, frame.f_back
    return level


def targets_first(function: Callable | str) -> Callable | str:
    """Converts a loss or metric that is written for Keras to the form that `as_loss` takes.

    Args:
        function: the user's own function (targets, outputs), whose mean is taken if it gives a value for each example.
            Anything else that `as_loss` takes stays as it is, including ours (outputs, targets).

    Example:
        >>> difference = targets_first(lambda y_true, y_pred: y_true - y_pred)
        >>> float(as_loss(difference)(tf.constant([1.0]), tf.constant([4.0])))
        3.0
    """
    is_known = not callable(function) or isinstance(function, type | keras.metrics.Metric) or _is_ours(function)
    if is_known or takes_targets_first(function):
        return function
    return functools.partial(in_keras_order, function)


def _is_ours(function):
    return innermost(function) in (mse, accuracy, _of_first_outputs) or isinstance(function, SoftmaxCrossEntropy)


def may_read_weights(function: Callable) -> bool:
    """Whether a loss that `as_loss` returned calls code of the user, which may read a model's weights."""
    if innermost(function) in (_own, in_keras_order, _of_metric, _of_first_outputs):  # as `as_loss` makes them
        return any(may_read_weights(argument) for argument in getattr(function, "args", ()) if callable(argument))
    return not (_is_ours(function) or is_keras_own(function))


def _make_global_seed():
    """Makes the seed of Keras's draws without a seed, which a loss may make: in its scope and graph it is too late."""
    state = random.getstate()
    keras.src.random.seed_generator.global_seed_generator()
    random.setstate(state)  # the same seeds for whatever is made next


def _own(function, outputs, targets):
    refuse_outer_product(function, outputs, targets)
    return function(outputs, targets)


def in_keras_order(function: Any, outputs: Any, targets: Any) -> tf.Tensor:
    """Calls a function (targets, outputs) and returns the mean of its values that are not masked."""
    mask = mask_of(outputs)
    if is_keras_own(function) and inspect.isroutine(innermost(function)):
        outputs, targets = _of_same_rank(outputs, targets)
    with _shapes_that_do_not_fit(function, outputs, targets):
        values = tf.convert_to_tensor(function(targets, outputs))
    return masked_mean(values, mask)  # a loss object has taken its mean itself


def _of_same_rank(outputs, targets):
    """Adds a last axis of size 1 to targets (or outputs) that lack it, as Keras's `compile` does for its own losses."""
    if tf.is_tensor(outputs) and tf.is_tensor(targets) and None not in (outputs.shape.rank, targets.shape.rank):
        more = outputs.shape.rank - targets.shape.rank
        if more == 1 and outputs.shape[-1] == 1:
            targets = targets[..., None]
        elif more == -1 and targets.shape[-1] == 1:
            outputs = outputs[..., None]
    return outputs, targets


def _of_metric(metric, outputs, targets):
    """The value of a keras.metrics.Metric for one task; the metric's variables do not change."""
    with _shapes_that_do_not_fit(metric, outputs, targets):
        variables = metric.stateless_update_state(metric.stateless_reset_state(), targets, outputs)
        value = tf.convert_to_tensor(metric.stateless_result(variables))
    if value.shape.rank:
        raise UserError(f"{name_of(metric)} gives {value.shape[0]} numbers, not one: give it average='macro'")
    return value


@contextlib.contextmanager
def _shapes_that_do_not_fit(function, outputs, targets):
    """Turns Keras's errors about shapes and dtypes that do not fit into one sentence."""
    several = isinstance(outputs, dict | list | tuple) and any(map(tf.is_tensor, tf.nest.flatten(outputs)))
    if several and is_keras_own(function):
        raise UserError(
            f"{name_of(function)} compares one output with one target, but the model has {len(outputs)}: give a "
            "function of all outputs and targets, which adds up what each of them costs"
        )
    try:
        yield
    except UserError:
        raise
    except TypeError as error:
        dtypes = [getattr(value, "dtype", None) for value in (targets, outputs)]
        if dtypes[0] == dtypes[1]:
            raise
        raise UserError(
            f"{name_of(function)} cannot compare targets of {dtypes[0].name} with outputs of {dtypes[1].name} "
            f"({first_line(error)}): give targets of {dtypes[1].name}"
        ) from error
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        shapes = [getattr(value, "shape", None) for value in (targets, outputs)]
        raise UserError(
            f"{name_of(function)} cannot compare targets of the shape {shapes[0]} with outputs of the shape "
            f"{shapes[1]} ({first_line(error)}); class ids need a sparse loss or metric"
        ) from error
