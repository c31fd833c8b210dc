"""Model-Agnostic Meta-Learning in TensorFlow 2 and Keras 3.

The names below load when they are first used, so that importing the package alone does not load TensorFlow:
`MAML`, `MAMLModel`, `load`, `Tasks`, `by_size`, `adapt`, `adam`, `evaluate`, `UserError`, and the modules `layers`,
`losses` and `networks`.
"""

import importlib
import os
import sys
from typing import Any

from data_generators.errors import UserError

__version__ = "0.1.0"

_HOMES = {
    "MAML": "maml_tf.maml",
    "MAMLModel": "maml_tf.keras_model",
    "load": "maml_tf.maml",
    "Tasks": "data_generators.tasks",
    "adapt": "maml_tf.adaptation",
    "adam": "maml_tf.optimizers",
    "by_size": "data_generators.tasks",
    "evaluate": "maml_tf.supervised.evaluation",
}
_MODULES = ("layers", "losses", "networks")
__all__ = [
    "MAML",
    "MAMLModel",
    "Tasks",
    "UserError",
    "adam",
    "adapt",
    "by_size",
    "evaluate",
    "layers",
    "load",
    "losses",
    "networks",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"maml_tf.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _use_tensorflow():
    """Has Keras run on TensorFlow, whatever the environment and keras.json say, where it has not been loaded yet."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        return
    import keras

    # Keras may be in the midst of being imported, and then says nothing yet.
    backend = keras.backend.backend() if hasattr(keras, "backend") else "tensorflow"
    if backend != "tensorflow":
        raise UserError(
            f"maml_tf needs Keras on TensorFlow, but it runs on {backend}: set the environment variable "
            "KERAS_BACKEND=tensorflow, or import maml_tf before keras"
        )


_use_tensorflow()
