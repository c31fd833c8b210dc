"""Small models to export, and tasks for them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf import losses
from maml_tf.maml import MAML
from tests.maml_tf.small_models import conv2

WAYS = 5
SIDE = 8
# How often to repeat a call that could raise either of two errors. If the check did not come first, at least one call
# in ten would raise the other error.
TIMES = 100
SETTINGS = {"task_axis": "map", "jit": False}


class Export(NamedTuple):
    """A MAML, the folder of its export, and the loaded export."""

    maml: MAML
    folder: Path
    loaded: object


def exported(maml, folder, **settings):
    """Exports a MAML and loads the export."""
    maml.export(folder, **settings)
    return Export(maml, folder, tf.saved_model.load(str(folder)))


def classifier(model=None, shots=1, **settings):
    """Returns a small convolutional MAML. All variables of the default model, statistics included, are random."""
    model = model or fill(conv2((SIDE, SIDE, 1), WAYS, 4))
    loss = losses.SoftmaxCrossEntropy(shots)
    return MAML(model, loss, **({"step_size": 0.1, "num_updates": 2} | SETTINGS | settings))


def fill(model):
    """Gives every variable random numbers; variances stay positive."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(np.abs(variable + rng.normal(0, 0.3, variable.shape)))
            if variable.trainable:
                variable.assign(variable * rng.choice([-1, 1], variable.shape))
    return model


def images(count, seed=0):
    """Returns random images, float32 [count, SIDE, SIDE, 1]."""
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 1)).astype(np.float32)


def labels(count):
    """Returns one-hot labels, float32 [count, WAYS], with each class in turn."""
    return np.eye(WAYS, dtype=np.float32)[np.arange(count) % WAYS]


def call(loaded, signature, **arguments):
    """Calls a signature with named arguments, as a server does; returns a dict of the named output arrays."""
    outputs = loaded.signatures[signature](**{name: tf.constant(value) for name, value in arguments.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def assert_close(actual, expected, rtol=1e-5):
    """Asserts that arrays are equal up to `rtol` times the largest expected magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())
