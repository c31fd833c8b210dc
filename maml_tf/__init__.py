"""Model-Agnostic Meta-Learning in TensorFlow 2 and Keras 3."""

import os
import sys

from data_generators.errors import UserError

__version__ = "0.1.0"


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
