"""Helpers for checkpoints of a small MAML whose variables hold arbitrary numbers."""

import keras
import numpy as np

from maml_tf import losses, networks
from maml_tf.maml import MAML
from maml_tf.supervised.experiment import Experiment

EXPERIMENT = Experiment.of(learn_update_lr=True)


def make_maml(seed=0, hidden=(4,), learn=True):
    """Returns a MAML with a small network and, by default, learned step sizes."""
    keras.utils.set_random_seed(seed)
    return MAML(networks.mlp((1,), 1, hidden), losses.mse, learn_step_size=learn)


def everything(maml):
    """Returns all variables that a checkpoint must restore."""
    return [
        *maml.model.variables,
        *maml.step_sizes,
        *maml.optimizer.variables,
        *maml.pretrain_optimizer.variables,
    ]


def fill(maml, seed):
    """Fills every variable with random numbers, and returns these."""
    random = np.random.default_rng(seed)
    for variable in everything(maml):
        variable.assign(random.integers(1, 1000, variable.shape).astype(variable.dtype))
    return [v.numpy() for v in everything(maml)]


def assert_numbers(variables, numbers):
    """Asserts that the variables hold exactly these numbers."""
    for variable, number in zip(variables, numbers, strict=True):
        np.testing.assert_array_equal(variable.numpy(), number)
