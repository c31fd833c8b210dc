"""Tests of inductive evaluation: the support's statistics under the adapted weights normalise the queries."""

import keras
import numpy as np
import pytest

from data_generators.tasks import Tasks
from maml_tf import layers, losses
from maml_tf.maml import MAML
from tests.maml_tf.small_models import conv2

UPDATES = 2


@pytest.fixture(scope="module")
def tasks():
    """Tasks whose queries have another distribution than the support, so that it matters which statistics are used."""
    rng = np.random.default_rng(0)
    support_x, support_y, query_x, query_y = (rng.normal(size=(2, 6, size)) for size in (3, 2, 3, 2))
    return Tasks(support_x, support_y, 1 + 2 * query_x, query_y)


def make(hidden, **settings):
    """Returns a MAML with 3 inputs, hidden layers and 2 linear outputs, whose weights are of the order of 1."""
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *hidden, keras.layers.Dense(2, dtype="float64")])
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return MAML(model, losses.mse, **({"step_size": 0.05, "task_axis": "map", "jit": False} | settings))


def dense():
    return keras.layers.Dense(4, dtype="float64")


def trajectory(maml, x, y):
    """Returns the adapted weights after 0, 1, ... updates on a task."""
    initial = found = [[v.numpy() for v in maml.pure.adapted]]
    for _ in range(UPDATES):
        found = [*found, [p.numpy() for p in maml.adapt(x, y, num_updates=1).params]]
        for variable, value in zip(maml.pure.adapted, found[-1], strict=True):
            variable.assign(value)
    for variable, value in zip(maml.pure.adapted, initial[0], strict=True):
        variable.assign(value)
    return found


def test_every_update_s_statistics_are_those_of_the_support_after_that_update(tasks):
    norm = layers.BatchNorm(dtype="float64")
    maml = make([dense(), norm])
    found = maml.evaluate(tasks, UPDATES, transductive=False)["losses"]
    beta = norm.beta.numpy()
    for i, (support_x, support_y, query_x, query_y) in enumerate(zip(*tasks, strict=True)):
        weights = trajectory(maml, support_x, support_y)
        for update, (kernel, bias, output_kernel, output_bias) in enumerate(weights):
            support = support_x @ kernel + bias
            query = query_x @ kernel + bias
            normalised = (query - support.mean(0)) / np.sqrt(support.var(0) + 1e-3) + beta
            outputs = normalised @ output_kernel + output_bias
            np.testing.assert_allclose(found[i, update], np.mean((outputs - query_y) ** 2), rtol=1e-10)
    transductive = maml.evaluate(tasks, UPDATES)["losses"]
    assert np.abs(found / transductive - 1).min() > 0.01
    vectorised = make([dense(), layers.BatchNorm(dtype="float64")], task_axis="vectorize", jit=True)
    np.testing.assert_allclose(vectorised.evaluate(tasks, UPDATES, transductive=False)["losses"], found, rtol=1e-10)


@pytest.mark.parametrize("task_axis", ["map", pytest.param("vectorize", marks=pytest.mark.slow)])
def test_evaluating_is_predicting_by_the_state_that_adapting_returns(task_axis):
    """The tasks have images, whose maps are pooled before they are normalised."""
    rng = np.random.default_rng(0)
    shapes = ((4, 16, 16, 1), (4, 2), (6, 16, 16, 1), (6, 2))
    tasks = Tasks(*(rng.random((2, *shape)) for shape in shapes))
    model = conv2((16, 16, 1), 2, 3, max_pool=True, dtype="float64")
    maml = MAML(model, losses.mse, step_size=0.1, task_axis=task_axis, jit=False)
    found = maml.evaluate(tasks, 2, transductive=False)["losses"]
    for i, update in ((0, 0), (1, 2)):
        adapted = maml.adapt(tasks.support_x[i], tasks.support_y[i], num_updates=update)
        outputs = maml.predict(tasks.query_x[i], adapted, transductive=False)
        np.testing.assert_allclose(found[i, update], losses.mse(outputs, tasks.query_y[i]), rtol=1e-9)


def test_metrics_on_the_support_are_the_same(tasks):
    maml = make([layers.BatchNorm(dtype="float64")])
    both = [maml.evaluate(tasks, 1, transductive=transductive)["support_loss"] for transductive in (True, False)]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("norm", [[], [layers.LayerNorm(dtype="float64")]])
def test_nothing_changes_without_batch_normalisation(tasks, norm):
    maml = make([dense(), *norm, keras.layers.ReLU(dtype="float64")])
    both = [maml.evaluate(tasks, UPDATES, transductive=transductive) for transductive in (True, False)]
    for name, values in both[0].items():
        np.testing.assert_array_equal(both[1][name], values)


@pytest.mark.filterwarnings("ignore:layer .* has wrong second derivatives")
def test_moving_averages_of_stock_keras_layers_move_with_every_pass_over_the_support(tasks):
    norm = keras.layers.BatchNormalization(momentum=0.9, dtype="float64")
    maml = make([norm])
    norm.gamma.assign(np.ones(3))
    norm.beta.assign(np.zeros(3))
    found = maml.evaluate(tasks, UPDATES, transductive=False)["losses"]
    support_x, support_y, query_x, query_y = (values[1] for values in tasks)
    for update in range(UPDATES + 1):
        adapted = maml.adapt(support_x, support_y, num_updates=update)
        gamma, beta, kernel, bias = (p.numpy() for p in adapted.params)
        kept = 0.9 ** (update + 1)  # one pass per update, and one under the adapted weights
        mean = (1 - kept) * support_x.mean(0)
        variance = kept + (1 - kept) * support_x.var(0)
        outputs = ((query_x - mean) / np.sqrt(variance + 1e-3) * gamma + beta) @ kernel + bias
        np.testing.assert_allclose(found[1, update], np.mean((outputs - query_y) ** 2), rtol=1e-9)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), np.zeros(3))
