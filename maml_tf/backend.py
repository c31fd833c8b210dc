"""Imports TensorFlow, and Keras on the TensorFlow backend whatever the environment and keras.json say.

If Keras is already loaded on another backend, this raises a UserError. The library's files import `tf` and `keras` from
here, so that the backend is set first, even where a user imports one of these files alone. After TensorFlow is imported
it would be too late, since TensorFlow itself loads Keras.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

from data_generators.errors import UserError

__all__ = ["keras", "tf", "without_cudnn"]

_SETTING = "KERAS_BACKEND"


def _refused(backend):
    return UserError(
        f"maml_tf needs Keras on TensorFlow, but it runs on {backend}: set the environment variable "
        "KERAS_BACKEND=tensorflow, or import maml_tf.MAML before keras and tensorflow"
    )


_chosen = os.environ.get(_SETTING)
if "keras" not in sys.modules:
    os.environ[_SETTING] = "tensorflow"
try:
    import keras
    import tensorflow as tf
except ModuleNotFoundError as error:
    # Keras began to load on a backend that is not installed.
    if error.name in ("jax", "torch", "openvino"):
        raise _refused(error.name) from error
    raise
finally:  # leave the user's environment as it was
    if _chosen is None:
        os.environ.pop(_SETTING, None)
    else:
        os.environ[_SETTING] = _chosen

# Keras may still be in the middle of its own import; it then has no `backend` yet.
if hasattr(keras, "backend") and keras.backend.backend() != "tensorflow":
    raise _refused(keras.backend.backend())


@contextlib.contextmanager
def without_cudnn(layers: Iterable[keras.layers.Layer]) -> Iterator[None]:
    """Makes recurrent layers with `use_cudnn="auto"` use Keras's own operations on a GPU too, while it is entered.

    The operations of cuDNN have no second derivative: TensorFlow registers none.
    """
    choosing = [layer for layer in layers if getattr(layer, "use_cudnn", None) == "auto"]
    for layer in choosing:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer in choosing:
            layer.use_cudnn = "auto"
