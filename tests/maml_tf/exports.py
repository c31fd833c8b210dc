"""Small models that are exported, and tasks for them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maml_tf import losses
from maml_tf.maml import MAML
from tests.maml_tf.small_models import conv2

WAYS = 5
SIDE = 8
TIMES = 100  # calls of what may fail in two ways; unless checks come first, one in ten at least fails in the other
SETTINGS = {"task_axis": "map", "jit": False}


class Export(NamedTuple):
    """A MAML, the folder of its export, and what loading that gives."""

    maml: MAML
    folder: Path
    loaded: object


def exported(maml, folder, **settings):
    """Exports a MAML and loads the export."""
    maml.export(folder, **settings)
    return Export(maml, folder, tf.saved_model.load(str(folder)))


def classifier(model=None, shots=1, **settings):
    """A small convolutional MAML whose every variable, statistics included, has numbers of its own."""
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
    """float32 [count, SIDE, SIDE, 1]."""
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 1)).astype(np.float32)


def labels(count):
    """float32 [count, WAYS], one-hot, each class in turn."""
    return np.eye(WAYS, dtype=np.float32)[np.arange(count) % WAYS]


def call(loaded, signature, **arguments):
    """Calls a signature as a server does, by names; returns arrays by names."""
    outputs = loaded.signatures[signature](**{name: tf.constant(value) for name, value in arguments.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def assert_close(actual, expected, rtol=1e-5):
    """Equal up to a share of the largest expected number."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())
