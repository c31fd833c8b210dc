"""Tests of the cosine between the first- and the second-order meta-gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import losses
from maml_tf.maml import MAML
from maml_tf.supervised.steps import gradient_cosine
from tests.maml_tf.goldens import Golden

WAYS = [{"task_axis": "map", "jit": False}, {"task_axis": "vectorize", "jit": True}]
STEP = 0.3


@pytest.fixture(scope="module")
def tasks():
    rng = np.random.default_rng(0)
    return Tasks(*(rng.normal(size=(3, 6, size)) for size in (4, 1, 4, 1)))


def linear(loss=losses.mse, **settings):
    """Returns a MAML of the linear model outputs = x w, with w = (1, 2, 3, 4)."""
    model = keras.Sequential([keras.Input((4,), dtype="float64"), keras.layers.Dense(1, None, False, dtype="float64")])
    model.trainable_variables[0].assign([[1.0], [2.0], [3.0], [4.0]])
    return MAML(model, loss, **({"step_size": STEP, "task_axis": "map", "jit": False} | settings))


def found(maml, tasks):
    return float(maml.compiler(lambda tasks: gradient_cosine(maml, tasks))(tasks))


def by_hand(tasks, num_updates):
    """Returns the cosine of the two meta-gradients of linear regression, in closed form.

    The first-order meta-gradient is the query gradient at the adapted w. For second order, this gradient is multiplied
    by 1 - STEP * H for every update w <- w - STEP * H w + ..., where H is the Hessian of the support loss.
    """
    first, second = np.zeros((4, 1)), np.zeros((4, 1))
    for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
        w, hessian = np.array([[1.0], [2.0], [3.0], [4.0]]), 2 * support_x.T @ support_x / len(support_x)
        for _ in range(num_updates):
            w = w - STEP * 2 * support_x.T @ (support_x @ w - support_y) / len(support_x)
        gradient = 2 * query_x.T @ (query_x @ w - query_y) / len(query_x)
        first += gradient
        second += np.linalg.matrix_power(np.eye(4) - STEP * hessian, num_updates) @ gradient
    return (first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second)


@pytest.mark.parametrize("settings", WAYS)
@pytest.mark.parametrize("num_updates", [1, 3])
def test_linear_regression_by_hand(tasks, num_updates, settings):
    expected = by_hand(tasks, num_updates)
    assert abs(expected) < 0.9
    np.testing.assert_allclose(found(linear(num_updates=num_updates, **settings), tasks), expected, rtol=1e-9)


@pytest.mark.parametrize("settings", WAYS)
def test_one_where_second_derivatives_vanish(tasks, settings):
    """The loss is linear in the outputs, and the outputs are linear in the weights."""
    maml = linear(lambda outputs, targets: tf.reduce_mean(outputs * targets), num_updates=2, **settings)
    assert found(maml, tasks) == pytest.approx(1, abs=1e-14)


def test_of_the_original_s_own_gradients():
    """The two goldens differ only in the order of the meta-gradient."""
    first, second = Golden("o2"), Golden("o2b")
    gradients = [golden.of_roles("metagrad") for golden in (first, second)]
    a, b = (np.concatenate([gradient[role].ravel() for role in sorted(gradient)]) for gradient in gradients)
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert 0 < expected < 0.999
    maml = first.maml(task_axis="map", jit=False)
    assert maml.first_order  # has no effect on the cosine
    np.testing.assert_allclose(found(maml, second.tasks("float64")), expected, rtol=1e-7)


def test_step_sizes_are_no_part_of_it_and_nothing_changes(tasks):
    maml = linear(learn_step_size=True)
    variables = [*maml.model.variables, *maml.step_sizes, *maml.optimizer.variables, *maml.pretrain_optimizer.variables]
    before = [variable.numpy() for variable in variables]
    np.testing.assert_allclose(found(maml, tasks), by_hand(tasks, 1), rtol=1e-9)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_gradient_that_is_zero_has_no_direction(tasks):
    assert np.isnan(found(linear(lambda outputs, targets: 0 * tf.reduce_mean(outputs)), tasks))


def test_stock_layers_whose_second_derivatives_are_wrong_are_named(tasks):
    layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.LayerNormalization(name="stock")]
    layers.append(keras.layers.Dense(1))
    maml = MAML(keras.Sequential(layers), losses.mse, first_order=True, task_axis="map", jit=False)
    with pytest.warns(UserWarning, match="layer 'stock' .* has wrong second derivatives"):
        found(maml, tasks)
