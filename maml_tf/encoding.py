"""Converts arguments of a MAML to a form that JSON can hold, and back."""

import copy
import inspect
import json
import warnings
from typing import Any

import numpy as np

from maml_tf import losses
from maml_tf.backend import keras
from maml_tf.logits import name_of
from maml_tf.users_losses import in_keras_order, targets_first

SWAPPED = "@targets_first"  # marks a user's function (targets, outputs)
_OURS = {"mse": losses.mse, "accuracy": losses.accuracy}
_PLAIN = bool, int, float, str, type(None)


class Missing(Exception):
    """A user's function or object of which a file holds only the name."""


def encoded(value: Any) -> Any:
    """Converts an argument of MAML to a form that JSON can hold.

    This keeps numbers and texts, Keras's objects and functions, and this library's losses. Of anything else it keeps
    only the name.

    Args:
        value: argument, or a dict, list or tuple of arguments.

    Example:
        >>> encoded({"loss": losses.SoftmaxCrossEntropy(shots=1), "step_size": (0.1, 0.2)})
        {'loss': {'@ours': 'SoftmaxCrossEntropy', 'shots': 1}, 'step_size': [0.1, 0.2]}
    """
    if isinstance(value, dict):
        return {name: encoded(item) for name, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):  # Keras's own kind of list too
        return [encoded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, losses.SoftmaxCrossEntropy):
        return {"@ours": "SoftmaxCrossEntropy", "shots": value.shots}
    for name, function in _OURS.items():
        if value is function:
            return {"@ours": name}
    if getattr(value, "func", None) is in_keras_order:
        return {SWAPPED: encoded(*value.args)}
    return _of_keras(value) or {"@own": name_of(value)}


def _of_keras(value):
    """Keras's description of an object, if Keras can restore the object from it; otherwise None."""
    try:
        value = value() if inspect.isclass(value) else value
        with warnings.catch_warnings(action="ignore"):  # Keras warns of a lambda, but we keep only its name
            described = keras.saving.serialize_keras_object(value)
        json.dumps(described)
        restored = keras.saving.deserialize_keras_object(copy.deepcopy(described))  # it may change what it is given
        if _of_function(restored) != _of_function(value):  # Keras omits them for Huber and CosineSimilarity
            described["config"] |= _of_function(value)
            restored = keras.saving.deserialize_keras_object(copy.deepcopy(described))
    except Exception:  # Keras raises many kinds of errors, and users' classes any
        return None
    # A user's function may have the same name as a function of Keras.
    is_same = restored is value if inspect.isfunction(value) else type(restored) is type(value)
    is_same = is_same and _of_function(restored) == _of_function(value)
    return {"@keras": described} if is_same else None


def _of_function(value):
    """The arguments of a loss or metric of Keras that belong to its function."""
    return getattr(value, "_fn_kwargs", {})


def decoded(value: Any) -> Any:
    """Restores what `encoded` described; a list becomes a tuple.

    Raises:
        Missing: a function or object is the user's, and not among Keras's custom objects.
    """
    if isinstance(value, list):
        return tuple(map(decoded, value))
    if not isinstance(value, dict):
        return value
    if "@ours" in value:
        is_loss = value["@ours"] == "SoftmaxCrossEntropy"
        return losses.SoftmaxCrossEntropy(value["shots"]) if is_loss else _OURS[value["@ours"]]
    if SWAPPED in value:
        return targets_first(decoded(value[SWAPPED]))
    if "@keras" in value:
        try:
            return keras.saving.deserialize_keras_object(value["@keras"])
        except (TypeError, ValueError) as error:  # a class that was registered only in the process that saved it
            raise Missing(value["@keras"].get("class_name")) from error
    if "@own" in value:
        found = keras.saving.get_registered_object(value["@own"])
        if found is None:
            raise Missing(value["@own"])
        return found
    return {name: decoded(item) for name, item in value.items()}
