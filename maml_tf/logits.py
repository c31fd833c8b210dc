"""Finds out whether losses and metrics of Keras take logits or probabilities, and which of them a model gives."""

import functools
import inspect
from typing import Any

from maml_tf.backend import keras, tf
from maml_tf.losses import SoftmaxCrossEntropy


def innermost(function: Any) -> Any:
    """The function inside a partial, or the function itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def takes_targets_first(function: Any) -> bool:
    """Whether a loss or metric, or its base class, is of Keras or TensorFlow, and so takes (targets, outputs)."""
    function = innermost(function)
    function = getattr(function, "__self__", function)  # a method of a loss
    for kind in (function, *type(function).__mro__):
        package, *modules = (getattr(kind, "__module__", None) or "").split(".")
        of_losses = {"losses", "metrics"} & set(modules) or "crossentropy" in getattr(kind, "__name__", "")
        if package in ("keras", "tf_keras", "tensorflow") and of_losses:
            return True
    return False


def takes_probabilities(function: Any) -> bool:
    """Whether a loss or metric has the setting `from_logits`, and it is False."""
    function = getattr(function, "__self__", function)
    for name in ("from_logits", "_from_logits"):  # the latter in AUC
        if hasattr(function, name):
            return not getattr(function, name)
    settings = inspect.signature(function).parameters if inspect.isroutine(innermost(function)) else {}
    return "from_logits" in settings and not settings["from_logits"].default


def of_logits(function: Any) -> Any:
    """The same cross-entropy, with `from_logits=True`."""
    if isinstance(function, keras.metrics.Metric | keras.losses.Loss):
        return type(function).from_config({**function.get_config(), "from_logits": True})
    return functools.partial(function, from_logits=True)


BINARY, CLASSES = "binary", "classes"
ADVICE = {
    BINARY: "take 'binary_accuracy', or give a threshold of 0, as keras.metrics.Precision(thresholds=0)",
    CLASSES: "take 'accuracy', or end the model in a softmax and take a loss of probabilities",
}


def takes_logits(loss: Any) -> str | None:
    """`BINARY` or `CLASSES` for a cross-entropy of logits that `as_loss` returned; None for any other loss."""
    given = (*getattr(loss, "args", ()), loss)[0]
    if not (getattr(given, "keywords", {}).get("from_logits") or getattr(given, "from_logits", False)):
        return CLASSES if isinstance(loss, SoftmaxCrossEntropy) else None
    return BINARY if name_of(given).lower().startswith("binary") else CLASSES


def is_keras_own(function: Any) -> bool:
    """Whether a loss or metric is one of Keras or TensorFlow itself, not a subclass of the user's."""
    function = innermost(function)
    kind = function if inspect.isroutine(function) else type(function)
    return takes_targets_first(function) and kind.__module__.split(".")[0] in ("keras", "tf_keras", "tensorflow")


def thresholds(function: Any) -> list:
    """The thresholds of a metric of Keras, above which outputs count as positive; empty where it has none."""
    if not is_keras_own(function) or getattr(function, "_from_logits", False):
        return []
    if inspect.isroutine(innermost(function)):
        parameter = inspect.signature(function).parameters.get("threshold")
        return [] if parameter is None else [parameter.default]
    found = [getattr(function, name, None) for name in ("threshold", "thresholds")]
    return [threshold for threshold in tf.nest.flatten(found) if threshold is not None]


def from_zero(function: Any) -> Any:
    """The same metric with the threshold 0, which suits logits; None where it has no threshold to set."""
    if isinstance(function, keras.metrics.BinaryAccuracy) or function is keras.metrics.binary_accuracy:
        return functools.partial(keras.metrics.binary_accuracy, threshold=0.0)
    config = function.get_config() if isinstance(function, keras.metrics.Metric) else {}
    return type(function).from_config({**config, "thresholds": 0.0}) if "thresholds" in config else None


def ends_in_logits(model: keras.Model | None) -> bool | None:
    """Whether a model with an Input has one output, from a linear activation (pooling and the like may follow it).

    None if it has one output, from a layer or operation without an activation, which may be anything.
    """
    outputs = getattr(model, "outputs", None) or []  # a model without an Input has none
    return len(outputs) == 1 and _is_linear(*outputs[0]._keras_history)


def _is_linear(layer, node, index):
    """Whether an output of a layer comes from a linear activation, followed only by layers of `_THROUGH`."""
    if isinstance(layer, keras.Model):
        inner = getattr(layer, "outputs", None)
        return bool(inner) and _is_linear(*inner[index]._keras_history)
    if isinstance(layer, _THROUGH) or type(layer).__name__ in _OPERATIONS_THROUGH:
        return _is_linear(*layer._inbound_nodes[node].input_tensors[0]._keras_history)
    layer = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
    if isinstance(layer, keras.layers.InputLayer) or type(layer).__name__ in ("Softmax", "Sigmoid"):  # of keras.ops too
        return False
    if isinstance(layer, keras.layers.Average):
        found = {_is_linear(*tensor._keras_history) for tensor in layer._inbound_nodes[node].input_tensors}
        return found.pop() if len(found) == 1 else None
    activation = getattr(layer, "activation", None)
    return None if activation is None else activation is keras.activations.linear


_KINDS = ["Reshape", "Flatten", "Permute", "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout"]
_KINDS += [f"SpatialDropout{n}D" for n in (1, 2, 3)] + [f"Cropping{n}D" for n in (1, 2, 3)]
_KINDS += [f"{how}{what}Pooling{n}D" for how in ("", "Global") for what in ("Average", "Max") for n in (1, 2, 3)]
_THROUGH = tuple(getattr(keras.layers, kind) for kind in _KINDS)
_OPERATIONS_THROUGH = "Squeeze", "ExpandDims", "Reshape", "Transpose"  # of keras.ops


def name_of(function: Any) -> str:
    """The name of a function, also within a partial, or of an object's class."""
    inner = innermost(function)
    return getattr(inner, "__name__", None) or type(inner).__name__
