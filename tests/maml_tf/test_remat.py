"""Tests that updates computed twice, which take less memory, give the same numbers."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from data_generators.errors import UserError
from maml_tf import losses, networks
from maml_tf.adaptation import adapt
from maml_tf.maml import MAML
from tests.maml_tf.own_layers import Own
from tests.maml_tf.small_models import conv2
from tests.maml_tf.test_meta_gradients import random_tasks, randomise
from tests.maml_tf.test_variants import WAYS

MAP, VECTORIZED = WAYS
WEIGHTS = tf.constant([0.2, 0.3, 0.5], tf.float64)
ALL_OF_MAML_PLUS_PLUS = {"norm": "per_update_batch_norm", "learn_step_size": "per_update"}
ALL_OF_MAML_PLUS_PLUS |= {"query_weights": lambda iteration: WEIGHTS}


def mlp(remat, norm="batch_norm", **settings):
    model = randomise(networks.mlp((3,), 2, (6,), norm, "float64", num_updates=3))
    settings = {"step_size": 0.05, "num_updates": 3, **MAP, **settings}
    return MAML(model, losses.mse, remat=remat, **settings)


def conv(remat, max_pool, **settings):
    model = conv2((16, 16, 2), 2, 3, max_pool=max_pool, flatten=max_pool, dtype="float64")
    return MAML(randomise(model), losses.mse, step_size=0.05, num_updates=2, remat=remat, **{**MAP, **settings})


def stock(remat, dropout=True, **settings):
    """Returns a MAML of stock Keras layers; one is dropout by default, which TensorFlow cannot vectorise."""
    keras.utils.set_random_seed(3)
    kinds = (keras.layers.Dense, 6, "tanh"), *[(keras.layers.Dropout, 0.5)] * dropout, (keras.layers.Dense, 2)
    layers = [kind(*given, dtype="float64") for kind, *given in kinds]
    model = randomise(keras.Sequential([keras.Input((3,), dtype="float64"), *layers]))
    return MAML(model, "mse", step_size=0.05, num_updates=3, remat=remat, **{**MAP, **settings})


def assert_same(make, tasks, **settings):
    """Asserts that a step with and without remat gives the same meta-gradient, metrics and state.

    After a first step, the optimizer's momentum is minus the meta-gradient, so only the step has to be traced.
    """
    plain, twice = (make(remat, optimizer=keras.optimizers.SGD(1.0, 0.5), **settings) for remat in (False, True))
    metrics, again = plain.train_step(tasks), twice.train_step(tasks)
    expected, found = ([v.numpy() for v in maml.optimizer.momentums] for maml in (plain, twice))
    assert len(expected) == len(plain.meta_variables)
    scale = max(np.abs(gradient).max() for gradient in expected)
    assert scale > 1e-3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * scale)
    assert metrics.keys() == again.keys()
    left = [*metrics.values(), *plain.pure.state], [*again.values(), *twice.pure.state]
    for one, other in zip(*left, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def slow(make, settings):
    return pytest.param(make, settings, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (mlp, {"norm": "batch_norm"}),
        (mlp, ALL_OF_MAML_PLUS_PLUS),
        (conv, {"max_pool": False}),
        (stock, {}),
        (mlp, {"task_axis": "vectorize", "jit": False, "num_updates": 2}),
        *(slow(mlp, {"norm": norm}) for norm in networks.NORMS if norm != "batch_norm"),
        slow(mlp, {"learn_step_size": "per_weight", "inner_optimizer": "adam", "adapts": "head"}),
        slow(mlp, {"minibatch": 4, "learn_step_size": True}),
        slow(conv, {"max_pool": True}),
        slow(stock, {"task_axis": "vectorize", "jit": False, "dropout": False}),
        slow(mlp, VECTORIZED),
        slow(mlp, VECTORIZED | ALL_OF_MAML_PLUS_PLUS),
        slow(stock, VECTORIZED | {"dropout": False}),
        slow(conv, VECTORIZED | {"max_pool": True}),
        slow(mlp, {"task_axis": "map", "jit": True}),
    ],
)
def test_the_meta_gradient_is_the_same(make, settings):
    assert_same(make, random_tasks((16, 16, 2) if make is conv else (3,), 2), **settings)


@pytest.mark.parametrize(("first_order", "calls"), [(False, 6), (True, 3)])
def test_updates_are_computed_twice_to_second_order_alone(first_order, calls):
    called, theta = [], tf.constant(2.0, tf.float64)

    def loss(params, state):
        called.append(1)
        return params[0] ** 2, state

    with tf.GradientTape() as tape:
        tape.watch(theta)
        (adapted,), _ = adapt(loss, [theta], (), step_size=0.25, num_updates=3, first_order=first_order, remat=True)
    assert (float(adapted), float(tape.gradient(adapted, theta))) == (0.25, 1 if first_order else 0.125)
    assert len(called) == calls


@pytest.mark.parametrize("num_updates", [3, tf.constant(3)], ids=["unrolled", "loop"])
def test_derivatives_by_what_a_loss_finds_elsewhere_are_right(num_updates):
    """Differentiates theta' = (1 - alpha (c + d))^3 theta, where c is in the loss's closure, and d is its state."""
    theta, alpha, c, d = (tf.constant(value, tf.float64) for value in (2.0, 0.1, 1.5, 0.5))

    def loss(params, d):
        return (c + d) / 2 * params[0] ** 2, d

    given = [theta, alpha, c, d]
    with tf.GradientTape() as tape:
        tape.watch(given)
        (adapted,), _ = adapt(loss, [theta], d, step_size=alpha, num_updates=num_updates, remat=True)
    np.testing.assert_allclose(adapted, 0.8**3 * 2, rtol=1e-14)
    expected = [0.8**3, -3 * 0.8**2 * 2 * 2, *[-3 * 0.8**2 * 0.1 * 2] * 2]
    np.testing.assert_allclose(tape.gradient(adapted, given), expected, rtol=1e-14)


@pytest.mark.parametrize("settings", WAYS, ids=["map", "vectorize"])
def test_what_is_computed_twice_is_not_found_out_to_be_the_same(settings):
    """Otherwise TensorFlow or XLA would compute it once and keep it in memory."""
    tasks, products = random_tasks((3,), 2), []
    for remat in (False, True):
        maml = mlp(remat, "None", num_updates=2, **settings)
        if settings["jit"]:
            function = maml.compiler(maml.meta_gradients.graph)
            text = function.experimental_get_compiler_ir(tasks)(stage="optimized_hlo")
            products.append(len(re.findall(r" = f64\S* (dot|custom-call)\(", text)))
        else:
            with context.collect_graphs(optimized=True) as graphs:
                maml.meta_gradients(tasks)
            nodes = [node for graph in graphs for f in [graph, *graph.library.function] for node in nodes_of(f)]
            products.append(sum(node.op in ("MatMul", "_FusedMatMul") for node in nodes))
    assert products[1] == products[0] + 2 * 2  # both layers in each of two updates


def nodes_of(function):
    return getattr(function, "node", None) or function.node_def


def test_numbers_that_would_be_others_the_second_time_are_refused():
    noisy = Own(lambda x: x + tf.random.normal(tf.shape(x), dtype=x.dtype), dtype="float64", name="noisy")
    model = keras.Sequential([keras.Input((3,), dtype="float64"), noisy, keras.layers.Dense(2, dtype="float64")])
    for task_axis in ("map", "vectorize"):
        maml = MAML(model, losses.mse, remat=True, task_axis=task_axis, jit=False)
        with pytest.raises(UserError, match="draws other numbers each time by RandomStandardNormal"):
            maml.train_step(random_tasks((3,), 2))


def test_reptile_has_none():
    with pytest.raises(UserError, match="it takes no remat"):
        mlp(True, algorithm="reptile")
