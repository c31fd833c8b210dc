"""Tests that evaluations compute the moments of the first layer once for all updates, which changes no number."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import layers, losses, networks
from maml_tf.maml import MAML
from maml_tf.pure_model import Known, PureModel
from tests.maml_tf.small_models import conv2

RNG = np.random.default_rng(0)
TASKS = Tasks(*(RNG.random((2, 4, *shape)) for shape in ((21, 20, 2), (3,), (21, 20, 2), (3,))))


def network(max_pool, dtype="float64"):
    keras.utils.set_random_seed(0)
    return conv2((21, 20, 2), 3, 4, max_pool=max_pool, dtype=dtype)


def evaluated(max_pool, settings, transductive):
    maml = MAML(network(max_pool), losses.mse, step_size=0.1, jit=False, **settings)
    return maml.evaluate(TASKS, 2, transductive=transductive)["losses"]


MAPPED, IN_PARTS = {"task_axis": "map"}, {"task_axis": "map", "minibatch": 2}
FAST = [(False, False, MAPPED), (True, True, MAPPED), (True, False, IN_PARTS)]
EVERY = itertools.product([False, True], [False, True], [MAPPED, IN_PARTS, {"task_axis": "vectorize"}])
CASES = [pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow) for case in EVERY]


@pytest.mark.parametrize(("max_pool", "transductive", "settings"), CASES)
def test_moments_found_once_change_no_metric(settings, transductive, max_pool, monkeypatch):
    found, find = [], layers.patch_moments
    monkeypatch.setattr(layers, "patch_moments", lambda patches: found.append(patches) or find(patches))
    once = evaluated(max_pool, settings, transductive)
    if transductive and "minibatch" not in settings:
        assert len([patches for patches in found if patches.shape[0]]) == 2  # one of the support, one of the query
    monkeypatch.setattr(PureModel, "moment_specs", ())
    np.testing.assert_allclose(once, evaluated(max_pool, settings, transductive), rtol=1e-12)


@pytest.mark.parametrize("max_pool", [False, True])
def test_a_model_that_knows_the_moments_computes_the_same(max_pool):
    """Compares outputs, state and two derivatives; the model itself does not change."""
    model, x = network(max_pool), tf.constant(TASKS.query_x[0])
    pure, config = PureModel(model), model.get_config()
    params, shared, state = ([tf.convert_to_tensor(v) for v in g] for g in (pure.adapted, pure.shared, pure.state))
    directions = [RNG.normal(size=p.shape) for p in params]

    def derivatives(inputs):
        with tf.GradientTape() as outer:
            outer.watch(params)
            with tf.GradientTape() as inner:
                inner.watch(params)
                outputs, left, _ = pure(params, shared, state, inputs)
                value = tf.reduce_sum(outputs**3)
            first = inner.gradient(value, params, unconnected_gradients="zero")
            slope = tf.add_n([tf.reduce_sum(g * d) for g, d in zip(first, directions, strict=True)])
        return [outputs, *left, *first, *outer.gradient(slope, params, unconnected_gradients="zero")]

    knowing = derivatives(Known(x, pure.moments(x)))
    for actual, expected in zip(knowing, derivatives(x), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * scale)
    assert model.get_config() == config
    assert model.get_layer("conv1").input is model.inputs[0]


def test_models_that_take_no_moments():
    inputs = keras.Input((8, 8, 1))
    y, mean, variance = layers.Conv2D(2, moments="patches")(inputs)
    y = layers.BatchNorm()(y, mean, variance)
    assert PureModel(keras.Model(inputs, y)).moment_specs
    both = keras.layers.Concatenate()([y, inputs])  # the input bypasses the layer too
    for model in (keras.Model(inputs, both), networks.mlp((3,), 2), networks.conv4((8, 8, 1), 2, 2, "layer_norm")):
        assert PureModel(model).moment_specs == ()


def test_mixed_precision():
    inputs, dtype = keras.Input((8, 8, 2)), "mixed_bfloat16"
    model = keras.Model(
        inputs, layers.BatchNorm(dtype=dtype)(*layers.Conv2D(2, moments="patches", dtype=dtype)(inputs))
    )
    pure, x = PureModel(model), tf.constant(RNG.random((4, 8, 8, 2)), tf.float32)
    assert [spec.dtype for spec in pure.moment_specs] == [tf.float32] * 2
    groups = [[tf.convert_to_tensor(v) for v in g] for g in (pure.adapted, pure.shared, pure.state)]
    outputs = pure(*groups, Known(x, pure.moments(x)))[0]
    np.testing.assert_allclose(outputs, pure(*groups, x)[0], atol=0.01)


@pytest.mark.parametrize("jit", [False, True])
def test_no_update_by_minibatches_is_the_curve_before_adaptation(jit):
    model, x = networks.mlp((3,), 2, (4,)), np.random.default_rng(0).normal(size=(2, 5, 5)).astype(np.float32)
    tasks = Tasks(x[..., :3], x[..., 3:], x[..., 2:], x[..., :2])
    found, expected = (MAML(model, "mse", minibatch=size, jit=jit).evaluate(tasks, 0) for size in (2, None))
    np.testing.assert_array_equal(found["losses"], expected["losses"])
    assert found["losses"].shape == (2, 1)
