"""Reads checkpoints of the original code (TensorFlow 1), which hold weights by name, but no settings.

The names are those that `construct_conv_weights` and `construct_fc_weights` (maml.py of cbfinn/maml) and `normalize`
(utils.py) produce. A tensor without a name of its own is `Variable`, `Variable_1`, ... in the order of creation.
"""

from pathlib import Path

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.backend import keras

_NEVER_USED = ("moving_mean", "moving_variance")  # the original always normalises by the batch's own statistics
_SHOWN = 6  # differences that a message lists


def load(path: str | Path, model: keras.Model) -> None:
    """Assigns the weights of a checkpoint to one of our networks; ignores an optimiser's variables in the checkpoint.

    Args:
        path: path of the checkpoint, without the endings of its files.
        model: model made by `networks.mlp` or `networks.conv4`; it does not change if an error is raised.

    Raises:
        UserError: the checkpoint is damaged, or of another architecture: it lacks a weight of the model, has one in
            another shape, or has one that the model lacks.
    """
    variables = variables_by_name(model)
    try:
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
        tensors = {name: reader.get_tensor(name) for name in variables if name in shapes}
    except Exception as error:  # TensorFlow does not document which errors a damaged checkpoint raises
        raise UserError(f"checkpoint {path} is damaged: fetch or copy it again") from error
    differences = _differences(shapes, {name: variable.shape for name, variable in variables.items()})
    if differences:
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise UserError(
            f"checkpoint {path} has another architecture than these flags: "
            f"{', '.join(differences[:_SHOWN])}{more}; give --datasource, --num_classes, --num_filters, --max_pool, "
            "--norm and --conv of its training"
        )
    for name, variable in variables.items():
        variable.assign(tensors[name])


def variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns {name in the original: variable} for the trainable variables of a model by `networks`' mlp or conv4."""
    of_conv4 = model.name == "conv4"
    names, unnamed = {}, 0
    for layer in model.layers:
        if layer.name == "output" and of_conv4:
            names |= {"w5": layer.kernel, "b5": layer.bias}
        elif layer.name.startswith("conv"):
            names |= {layer.name: layer.kernel, _unnamed(unnamed): layer.bias}
            unnamed += 1
        elif layer.name.startswith("dense") or layer.name == "output":
            names |= {_unnamed(unnamed): layer.kernel, _unnamed(unnamed + 1): layer.bias}
            unnamed += 2
        elif layer.name.startswith("norm"):
            scope = _norm_scope(int(layer.name.removeprefix("norm")), of_conv4)
            names |= {f"{scope}/{variable.name}": variable for variable in layer.trainable_variables}
    return {f"model/{name}": variable for name, variable in names.items()}


def _unnamed(number):
    return f"Variable_{number}" if number else "Variable"


def _norm_scope(number, of_conv4):
    """The scope of the first, second, ... normalisation: 0, 1, 2, 3 with convolutions, 0, 2, 3, 4 without."""
    return number - 1 if of_conv4 or number == 1 else number


def _differences(found, needed):
    """Describes how the shapes found differ from those needed."""

    def size(shape):
        return " x ".join(map(str, shape))

    both = [name for name in needed if name in found]
    differing = [name for name in both if tuple(found[name]) != tuple(needed[name])]
    shapes = [f"{name} is {size(found[name])} where {size(needed[name])} is needed" for name in differing]
    missing = [f"{name} is missing" for name in needed if name not in found]
    return shapes + missing + [f"{name} has no place" for name in _weights(found) if name not in needed]


def _weights(names):
    """The names of weights, without an optimiser's variables, which are below a weight's name or outside the model."""
    of_model = [name for name in sorted(names) if name.startswith("model/") and not name.endswith(_NEVER_USED)]
    return [name for name in of_model if name.rpartition("/")[0] not in names]
