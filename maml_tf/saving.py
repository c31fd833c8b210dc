"""Saves a MAML as a file, from which `MAML.load` makes a MAML that continues to train as the saved one would have.

The file is a zip of these three:

    maml.json             the arguments of the MAML, and the network as Keras describes it
    network.weights.h5    the network's weights as Keras saves them, without seeds
    state.npz             statistics and seeds, step sizes, slots of the inner optimizer, both optimizers' variables

and of the files of layers that hold more than weights, such as a vocabulary: assets/<number of the layer>/...
"""

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from data_generators.errors import UserError, first_line
from data_generators.files import reading, replacing, writing
from maml_tf.backend import keras
from maml_tf.encoding import SWAPPED, Missing, decoded, encoded
from maml_tf.optimizers import optimizer_of
from maml_tf.parts import sublayers
from maml_tf.users_losses import targets_first

_FORMAT = 1
_SETTINGS, _WEIGHTS, _STATE, _ASSETS = "maml.json", "network.weights.h5", "state.npz", "assets"
_OPTIMIZERS = "optimizer", "pretrain_optimizer"


class Saved:
    """The methods of a MAML that write files, and the one that reads them."""

    def export(self: Any, path: str | Path, **settings: Any) -> Path:
        """Writes a SavedModel that adapts without this project; see `export.export`."""
        from maml_tf.export import export

        return export(self, path, **settings)

    def save(self: Any, path: str | Path) -> Path:
        """Writes this MAML, with its settings and all that it has learned, to one file; `load` reads it.

        Args:
            path: path of the file. An existing file is replaced only once the new one is whole.

        Returns:
            The path.

        Raises:
            UserError: the file cannot be written.
        """
        self.pure.check_trainable()
        path = Path(path)
        with writing(path), replacing(path) as part, zipfile.ZipFile(part, "w") as file, TemporaryDirectory() as folder:
            weights = Path(folder, _WEIGHTS)
            self.model.save_weights(weights)
            file.write(weights, _WEIGHTS)
            for i, layer in enumerate(with_assets(self.model)):
                assets = Path(folder, _ASSETS, str(i))
                assets.mkdir(parents=True)
                layer.save_assets(str(assets))
                for path_of_one in filter(Path.is_file, assets.rglob("*")):
                    file.write(path_of_one, path_of_one.relative_to(folder))
            file.writestr(_SETTINGS, json.dumps(_described(self), indent=2))
            np.savez(Path(folder, _STATE), *(variable.numpy() for variable in _variables(self)))
            file.write(Path(folder, _STATE), _STATE)
        return path

    @classmethod
    def load(cls: Any, path: str | Path, *, model: keras.Model | None = None, **given: Any) -> Any:
        """Reads the MAML that `save` wrote.

        Args:
            path: path of the file.
            model: the built network, needed where Keras cannot make it from its description because it has custom
                layers that are not registered by `keras.saving.register_keras_serializable`. It gets the weights of the
                file.
            given: arguments of `MAML` in place of those in the file. An optimizer continues from its state in the file,
                at its own learning rate. A file does not hold the user's own functions: give them, unless they are
                registered with Keras. If it is of `MAMLModel.maml`, they take (y_true, y_pred), as they do there.

        Raises:
            UserError: the file is damaged or was not written by `save`; or an argument that must be given is missing.

        Example:
            >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            >>> with TemporaryDirectory() as folder:
            ...     saved = MAML(model, "mse", step_size=0.5).save(f"{folder}/line.maml")
            ...     MAML.load(saved).step_size
            0.5
        """
        remedy = "give a file that MAML.save wrote"
        with TemporaryDirectory() as folder:
            with reading(path, remedy), zipfile.ZipFile(path) as file:
                assets = [name for name in file.namelist() if name.startswith(f"{_ASSETS}/")]
                for name in (_SETTINGS, _WEIGHTS, _STATE, *assets):
                    file.extract(name, folder)
                with np.load(Path(folder, _STATE)) as state:
                    values = [state[name] for name in state.files]
                described = json.loads(Path(folder, _SETTINGS).read_text(encoding="utf-8"))
                settings, network, version = described["settings"], described["network"], described["format"]
            if version != _FORMAT:
                raise UserError(f"{path} has the format {version} of a later version: update this library to read it")
            if model is None:
                model = _network(network, path)
                for variable, trainable in zip(model.variables, described.get("trainable", []), strict=False):
                    variable.trainable = trainable
            with reading(path, "give the network that it was saved with"):
                model.load_weights(Path(folder, _WEIGHTS))
                for i, layer in enumerate(with_assets(model) if assets else ()):  # which may need the weights
                    layer.load_assets(str(Path(folder, _ASSETS, str(i))))
            if described.get("trainable", _trainable(model)) != _trainable(model):
                raise UserError(f"{path} is of a network with other frozen weights: freeze the same in the model first")
        given = {name: _in_the_order_of(settings.get(name), value) for name, value in given.items()}
        maml = cls(model, **{**_restored(settings, given, path), **given})
        _refuse_unfitting(maml, given, values, path)
        rates = [id(rate) for rate in _own_rates(maml, given, settings, path)]
        with reading(path, remedy):
            for variable, value in zip(_variables(maml), values, strict=True):
                if id(variable) not in rates:
                    # NumPy reads dtypes that it does not know, such as bfloat16, as raw bytes.
                    variable.assign(value.view(np.dtype(variable.dtype)) if value.dtype.kind == "V" else value)
        return maml


def with_assets(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that hold more than weights, such as a vocabulary, and write it to files."""
    return [layer for layer in sublayers(model) if hasattr(layer, "save_assets")]


def _described(maml):
    settings = maml.given | ({"step_size": 1.0} if maml.step_sizes else {})  # the learned values are in the state
    try:
        network = {**keras.saving.serialize_keras_object(maml.model), "compile_config": None}
        json.dumps(network)
    except Exception:  # a user's class may raise anything; `load` then needs the network itself
        network = None
    trainable = _trainable(maml.model)
    return {"format": _FORMAT, "network": network, "settings": encoded(settings), "trainable": trainable}


def _trainable(model):
    """Which of the variables train; Keras's description of a network says so only of whole layers."""
    return [variable.trainable for variable in model.variables]


def _network(described, path):
    try:
        if described is None:
            raise TypeError("its class does not describe itself by get_config")
        return keras.saving.deserialize_keras_object(described)
    except Exception as error:  # Keras and users' classes raise many kinds
        why = f"Keras cannot make the network of {path} ({first_line(error)})"
        raise UserError(f"{why}: register its classes, or give load(path, model=...)") from error


def _restored(settings, given, path):
    found = {}
    for name in settings.keys() - given.keys():
        try:
            found[name] = decoded(settings[name])
        except Missing as error:
            raise UserError(f"{path} cannot hold the {name} {error}: give it, load(path, {name}=...)") from error
    if isinstance(settings.get("step_size"), list) and "step_size" in found:
        found["step_size"] = list(found["step_size"])  # one for each variable: pairs (low, high) are not saved
    return found


def _in_the_order_of(described, given):
    """Takes a given function as one of (targets, outputs) if the one in the file was."""
    if isinstance(given, dict) and isinstance(described, dict):
        return {name: _in_the_order_of(described.get(name), function) for name, function in given.items()}
    return targets_first(given) if isinstance(described, dict) and SWAPPED in described else given


def _own_rates(maml, given, settings, path):
    """The learning rates of optimizers that are given in place of those in the file; refuses other kinds of them."""
    for name in filter(given.get, _OPTIMIZERS):
        yield getattr(maml, name)._learning_rate
        if "@own" in (settings[name] or ""):
            continue  # of a user's own optimizer the file holds no more than the name
        with suppress(Missing):
            usual = "sgd" if maml.reptile and name == "optimizer" else None
            saved, now = type(optimizer_of(decoded(settings[name]) or usual)), type(getattr(maml, name))
            if not issubclass(now, saved):
                held = f"the state of {saved.__name__}, not of {now.__name__}"
                raise UserError(f"{path} holds {held}: leave {name} out")


def _refuse_unfitting(maml, given, values, path):
    """Refuses arguments that give the MAML other variables than those in the file."""
    if "step_size" in given and maml.step_sizes:
        raise UserError(f"{path} holds the step sizes that were learned: leave step_size out")
    if given and [tuple(variable.shape) for variable in _variables(maml)] != [value.shape for value in values]:
        names = ", ".join(given)
        raise UserError(f"what {path} holds does not fit {names}: leave it out, or make a new MAML of load(path).model")


def _variables(maml):
    return [
        *maml.pure.state,
        *maml.step_sizes,
        *maml.slots,
        *maml.optimizer.variables,
        *maml.pretrain_optimizer.variables,
    ]
