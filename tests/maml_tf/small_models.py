"""Small networks and MAMLModels, and tasks for them: y = a x, or classes by the sign of x."""

import keras
import numpy as np

from maml_tf import MAML, Tasks, adam, networks
from maml_tf.keras_model import MAMLModel

SETTINGS = {"step_size": 0.05, "num_updates": 2, "learn_step_size": True}
SMALLEST = {"task_axis": "map", "num_updates": 1, "learn_step_size": False}  # quickest to trace


def conv2(*arguments, **settings):
    """Returns conv4 without its third and fourth blocks, which are like its second."""
    whole = networks.conv4(*arguments, **settings)
    *_, flatten, output = whole.layers
    outputs = keras.layers.Dense.from_config(output.get_config())(flatten(whole.get_layer("conv3").input))
    return keras.Model(whole.input, outputs, name="conv2")


def network(outputs=1, dropout=0.0):
    keras.utils.set_random_seed(0)
    random = [keras.layers.Dropout(dropout)] if dropout else []
    return keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(4, "tanh"), *random, keras.layers.Dense(outputs)], name="small"
    )


def model(net=None, loss="mse", metrics=("mae",), jit_compile=False, steps_per_execution=1, optimizer="adam", **others):
    settings = {"inner_step_size": 0.05, "num_updates": 2, "learn_step_size": True, **others}
    made = MAMLModel(net or network(), **settings)
    made.compile(optimizer, loss, metrics, jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    return made


def maml(net=None, loss="mse", **others):
    settings = {**SETTINGS, "accuracy": {"mae": "mae"}, "jit": False, "optimizer": adam(), **others}
    return MAML(net or network(), loss, **settings)


def tasks(seed=0, count=3, ids=False):
    """Tasks of 4 support and 6 query examples."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 10, 1)).astype(np.float32)
    y = (x[..., 0] > 0).astype(np.int64) if ids else x * generator.normal(size=(count, 1, 1)).astype(np.float32)
    return Tasks(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:])


def stream(first=0):
    """Yields tasks(first), tasks(first + 1), ..."""
    while True:
        yield tasks(first)
        first += 1


def variables(learner):
    """Returns the variables of the model, step sizes, slots and optimizer of a MAML or a MAMLModel."""
    of = getattr(learner, "maml", learner)
    return [*of.model.variables, *of.step_sizes, *of.slots, *of.optimizer.variables]


def trained_variables(maml):
    """Returns all variables that pretraining and meta-training change, and that a checkpoint must restore."""
    return [*variables(maml), *maml.pretrain_optimizer.variables]


def learned(learner):
    """Returns the values of `variables`."""
    return [v.numpy() for v in variables(learner)]


def assert_same(one, other):
    for mine, its in zip(learned(one), learned(other), strict=True):
        np.testing.assert_array_equal(mine, its)
