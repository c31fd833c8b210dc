"""TensorFlow, and Keras on it, whatever the environment and keras.json say, where Keras is not loaded yet.

The library's files take both from here, so that this comes first, also where a user imports one of them alone.
TensorFlow itself loads Keras, by then too late.
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
    # It began to load on a backend that is not installed.
    if error.name in ("jax", "torch", "openvino"):
        raise _refused(error.name) from error
    raise
finally:  # the environment is the user's
    if _chosen is None:
        os.environ.pop(_SETTING, None)
    else:
        os.environ[_SETTING] = _chosen

# Keras may be in the midst of being imported, and then says nothing yet.
if hasattr(keras, "backend") and keras.backend.backend() != "tensorflow":
    raise _refused(keras.backend.backend())


@contextlib.contextmanager
def without_cudnn(layers: Iterable[keras.layers.Layer]) -> Iterator[None]:
    """While entered, recurrent layers that choose for themselves take Keras's own operations on a GPU, too.

    Those of cuDNN have no second derivative: TensorFlow registers none.
    """
    choosing = [layer for layer in layers if getattr(layer, "use_cudnn", None) == "auto"]
    for layer in choosing:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer in choosing:
            layer.use_cudnn = "auto"
