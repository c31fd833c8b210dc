"""Model-Agnostic Meta-Learning in TensorFlow 2 and Keras 3.

The names in `__all__` load when they are first used: importing the package loads neither TensorFlow nor Keras nor
NumPy, and changes nothing in the process.
"""

import importlib
from typing import TYPE_CHECKING, Any

try:
    from data_generators.errors import UserError
except ModuleNotFoundError as error:
    import data_generators

    found = data_generators.__file__ or next(iter(data_generators.__path__))
    why = f"{found} hides the package data_generators, which belongs to maml_tf: give your own another name"
    raise ImportError(why) from error

if TYPE_CHECKING:  # what editors and type checkers read in place of `__getattr__`
    from data_generators.arrays import from_arrays, from_tf_dataset
    from data_generators.episodes import ClassImages, Episodes
    from data_generators.miniimagenet import load_miniimagenet
    from data_generators.omniglot import load_omniglot
    from data_generators.own_images import load_image_folder
    from data_generators.sinusoid import Sinusoid
    from data_generators.tasks import Tasks, by_size
    from maml_tf import export, layers, losses, networks
    from maml_tf.adaptation import adapt
    from maml_tf.keras_model import MAMLModel
    from maml_tf.maml import MAML
    from maml_tf.optimizers import adam
    from maml_tf.supervised.evaluation import evaluate

__version__ = "0.1.0"

_HOMES = {
    "ClassImages": "data_generators.episodes",
    "Episodes": "data_generators.episodes",
    "MAML": "maml_tf.maml",
    "MAMLModel": "maml_tf.keras_model",
    "Sinusoid": "data_generators.sinusoid",
    "Tasks": "data_generators.tasks",
    "adam": "maml_tf.optimizers",
    "adapt": "maml_tf.adaptation",
    "by_size": "data_generators.tasks",
    "evaluate": "maml_tf.supervised.evaluation",
    "from_arrays": "data_generators.arrays",
    "from_tf_dataset": "data_generators.arrays",
    "load": "maml_tf.maml",
    "load_image_folder": "data_generators.own_images",
    "load_miniimagenet": "data_generators.miniimagenet",
    "load_omniglot": "data_generators.omniglot",
}
_WITH_TENSORFLOW = ("maml_tf.", "data_generators.sinusoid")
_MODULES = ("export", "layers", "losses", "networks")
__all__ = [
    "MAML",
    "ClassImages",
    "Episodes",
    "MAMLModel",
    "Sinusoid",
    "Tasks",
    "UserError",
    "adam",
    "adapt",
    "by_size",
    "evaluate",
    "export",
    "from_arrays",
    "from_tf_dataset",
    "layers",
    "load",
    "load_image_folder",
    "load_miniimagenet",
    "load_omniglot",
    "losses",
    "networks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, f"maml_tf.{name}")
    if home.startswith(_WITH_TENSORFLOW):
        importlib.import_module("maml_tf.backend")  # before anything else imports TensorFlow
    module = importlib.import_module(home)
    if name in _MODULES:
        return module
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
