"""Checkpoints as the original code (TensorFlow 1) writes them, for tests."""

import tensorflow as tf

from maml_tf.supervised.original_checkpoints import variables_by_name


def write(path, tensors):
    """Writes `<path>.index` and `<path>.data-00000-of-00001` with tensors by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names, values = list(tensors), [tf.constant(value) for value in tensors.values()]
    tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)


def weights(model):
    """Returns the weights of one of our networks, by the original's names."""
    return {name: variable.numpy() for name, variable in variables_by_name(model).items()}
