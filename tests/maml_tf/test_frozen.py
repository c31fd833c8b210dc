"""Tests that what a model does not assign keeps every bit: frozen weights, and constants of a user's layers."""

import keras
import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import MAMLModel, layers, losses
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


def small():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="body"), keras.layers.Dense(1, name="head")])


def some_tasks():
    return Tasks(*(np.ones((2, 5, n), np.float32) for n in (3, 1, 3, 1)))


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda maml, tasks: maml.train_step(tasks),
        lambda maml, tasks: maml.pretrain_step(tasks),
        lambda maml, tasks: maml.meta_gradients(tasks),
        lambda maml, tasks: maml.evaluate(tasks, 1),
        lambda maml, tasks: maml.adapt(tasks.support_x[0], tasks.support_y[0]),
    ],
    ids=["train_step", "pretrain_step", "meta_gradients", "evaluate", "adapt"],
)
def test_weights_that_are_frozen_later_are_refused(call, called):
    maml, tasks = MAML(small(), "mse", jit=False), some_tasks()
    if called:
        call(maml, tasks)
    maml.model.layers[0].trainable = False
    with pytest.raises(UserError, match="body/kernel was frozen too late: make the MAML or policy anew"):
        call(maml, tasks)
    maml.predict(tasks.query_x[0])
    maml.model.layers[0].trainable = True
    call(maml, tasks)


def test_weights_that_are_unfrozen_later_are_refused():
    model = small()
    model.layers[1].trainable = False
    maml = MAML(model, "mse", jit=False)
    model.layers[1].trainable = True
    with pytest.raises(UserError, match="head/kernel was unfrozen too late"):
        maml.train_step(some_tasks())


def test_a_maml_model_freezes_what_is_frozen_when_it_is_compiled():
    model, tasks = MAMLModel(small(), inner_step_size=0.1), some_tasks()
    model.compile("adam", "mse")
    model.fit(tasks, verbose=0)
    body, head = model.network.layers
    body.trainable = False
    with pytest.raises(UserError, match=r"body/kernel was frozen.*MAMLModel: compile again"):
        model.fit(tasks, verbose=0)
    model.compile("adam", "mse")
    before = [layer.kernel.numpy() for layer in (body, head)]
    model.fit(tasks, verbose=0)
    np.testing.assert_array_equal(body.kernel.numpy(), before[0])
    assert np.abs(head.kernel.numpy() - before[1]).max() > 0
