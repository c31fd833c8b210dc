"""Tests that what a model does not assign keeps every bit: frozen weights, and constants of a user's layers."""

import keras
import numpy as np
import pytest

from data_generators.tasks import Tasks
from maml_tf import layers, losses
from maml_tf.maml import MAML
from tests.maml_tf.test_pure_model import dense, functional


def frozen_model():
    keras.utils.set_random_seed(0)
    fixed = functional(dense(3, name="inner", trainable=False), dense(3, name="adapted"))
    norm = layers.BatchNorm(dtype="float64", name="norm")
    return functional(dense(3, name="frozen", activation="relu", trainable=False), fixed, norm, dense(1, name="last"))


@pytest.mark.parametrize("settings", [{"task_axis": "map"}, {}])  # {} is vectorised, by XLA
def test_frozen_weights_keep_every_bit_and_the_models_own_state_moves(settings):
    maml = MAML(frozen_model(), losses.mse, step_size=0.1, **settings)
    before = {v.path: v.numpy() for v in maml.model.variables}
    rng = np.random.default_rng(0)
    for _ in range(20):
        maml.train_step(Tasks(*(rng.normal(size=(7, 5, n)) for n in (3, 1, 3, 1))))
    for variable in maml.model.variables:
        same = np.array_equal(variable.numpy(), before[variable.path])
        assert same == variable.path.startswith(("frozen/", "inner/")), variable.path
    curves = maml.evaluate(Tasks(*(rng.normal(size=(7, 5, n)) for n in (3, 1, 3, 1))), 2)
    assert np.isfinite(curves["losses"]).all()


def test_constants_of_a_users_layer_keep_every_bit():
    class Features(keras.layers.Layer):
        """Has fixed random features, which nothing assigns, and a counter, which the layer assigns."""

        def build(self, shape):
            self.w = self.add_weight(shape=(3, 4), initializer="normal", trainable=False, name="w")
            self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

        def call(self, x):
            self.seen.assign_add(1.0)
            return x @ self.w

    features = Features(dtype="float64")
    maml = MAML(functional(features, dense(1)), losses.mse, step_size=0.1, task_axis="map", jit=False)
    before, rng = features.w.numpy(), np.random.default_rng(0)
    for _ in range(20):
        maml.train_step(Tasks(*(rng.normal(size=(7, 5, n)) for n in (3, 1, 3, 1))))
    np.testing.assert_array_equal(features.w.numpy(), before)
    assert features.seen.numpy() == 20
