"""Tests of the Gaussian policy: its distribution against the original's numbers, its network, its batched call."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rl.policy import LOG_STD_FLOOR, GaussianPolicy, gaussian, gaussian_mlp, kl_divergence, log_prob
from tests.rl.goldens import estimates


def test_log_prob_entropy_and_kl_are_the_originals():
    golden = {key.removeprefix("gauss/"): tf.constant(value) for key, value in estimates().items() if "gauss/" in key}
    new = gaussian(golden["new_mean"], golden["new_log_std"])
    np.testing.assert_allclose(new.log_prob(golden["x"]), golden["logli_new"], rtol=1e-13)
    found = log_prob(golden["new_mean"], golden["new_log_std"], golden["x"])
    np.testing.assert_allclose(found, golden["logli_new"], rtol=1e-13)
    np.testing.assert_allclose(new.entropy(), golden["entropy_new"], rtol=1e-13)
    kl = kl_divergence(golden["old_mean"], golden["old_log_std"], golden["new_mean"], golden["new_log_std"])
    np.testing.assert_allclose(kl, golden["kl_old_new"], rtol=1e-13)


def test_only_the_normal_distribution_is_loaded_and_the_whole_of_tensorflow_probability_can_be():
    program = """
import sys
import numpy as np
from rl.policy import gaussian
print("tf_keras" in sys.modules, sum(name.startswith("tensorflow_probability") for name in sys.modules) < 150)
import tensorflow_probability as tfp
ours = gaussian(np.zeros([1, 2]), np.zeros(2))
print(type(ours) is tfp.distributions.Independent, type(ours.distribution) is tfp.distributions.Normal)
other = tfp.distributions.Normal(np.ones(2), np.ones(2))
print(tfp.distributions.kl_divergence(ours.distribution, other).numpy().sum())
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False True", "True True", "1.0"]


@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_log_prob_and_kl_are_those_of_the_distributions(scale):
    random = np.random.default_rng(0)
    means, old_means, actions = (tf.constant(scale * random.standard_normal((5, 3))) for _ in range(3))
    log_std, old_log_std = (tf.constant(np.log(scale) + random.standard_normal(3)) for _ in range(2))
    new, old = gaussian(means, log_std), gaussian(old_means, old_log_std)
    arguments = [means, log_std]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(arguments)
        found, expected = log_prob(means, log_std, actions), gaussian(means, log_std).log_prob(actions)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for pair in zip(tape.gradient(found, arguments), tape.gradient(expected, arguments), strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-11)
    # The 1e-8 that rllab adds in the denominator, relative to the smallest variance.
    of_floor = 1e-8 / np.exp(2 * log_std.numpy().min())
    kl = kl_divergence(old_means, old_log_std, means, log_std)
    np.testing.assert_allclose(kl, old.kl_divergence(new), rtol=10 * of_floor)
    np.testing.assert_array_equal(kl_divergence(means, log_std, means, log_std), 0)


def test_of_one_action_they_are_a_number():
    zeros, ones = tf.zeros([3], tf.float64), tf.ones([3], tf.float64)
    np.testing.assert_allclose(log_prob(zeros, zeros, ones), gaussian(zeros, zeros).log_prob(ones), rtol=1e-13)
    np.testing.assert_allclose(kl_divergence(zeros, zeros, ones, zeros), 1.5, rtol=1e-7)


def test_network_is_the_papers():
    model = gaussian_mlp(20, 6, seed=3)
    shapes = [(20, 100), (100,), (100, 100), (100,), (100, 6), (6,), (6,)]
    assert [tuple(v.shape) for v in model.trainable_variables] == shapes
    for kernel, bias in zip(model.trainable_variables[0:6:2], model.trainable_variables[1:6:2], strict=True):
        limit = np.sqrt(6 / sum(kernel.shape))
        assert 0.9 * limit < np.abs(kernel.numpy()).max() <= limit
        assert (bias.numpy() == 0).all()
    assert (model.trainable_variables[-1].numpy() == 0).all()
    again, other = gaussian_mlp(20, 6, seed=3), gaussian_mlp(20, 6, seed=4)
    np.testing.assert_array_equal(again.weights[0].numpy(), model.weights[0].numpy())
    assert (other.weights[0].numpy() != model.weights[0].numpy()).any()


@pytest.mark.parametrize(("nonlinearity", "function"), [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)])
def test_every_task_acts_with_its_own_weights(nonlinearity, function):
    random = np.random.default_rng(0)
    policy = GaussianPolicy(gaussian_mlp(3, 2, (8, 8), nonlinearity, dtype="float64"))
    params = [random.standard_normal((4, *shape)) for shape in policy.shapes]
    observations = random.standard_normal((4, 5, 3))
    means = policy.act([tf.constant(p) for p in params], tf.constant(observations)).numpy()
    for task in range(4):
        w0, b0, w1, b1, w2, b2, _ = (p[task] for p in params)
        expected = function(function(observations[task] @ w0 + b0) @ w1 + b1) @ w2 + b2
        np.testing.assert_allclose(means[task], expected, rtol=1e-12)


def test_batched_call_is_one_graph_without_loops():
    policy = GaussianPolicy(gaussian_mlp(3, 2, (8, 8)))
    graph = policy.act.get_concrete_function(policy.stacked(4), tf.zeros([4, 5, 3])).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert not {"While", "StatelessWhile"} & set(kinds)
    assert kinds.count("BatchMatMulV2") == 3


def test_floor_of_the_standard_deviation():
    policy = GaussianPolicy(gaussian_mlp(3, 2, (4,)))
    params = policy.params()
    params[-1] = tf.constant([-50.0, 0.5])
    _, log_std = policy(params, tf.zeros([1, 3]))
    np.testing.assert_allclose(log_std, [LOG_STD_FLOOR, 0.5], rtol=1e-6)
    np.testing.assert_allclose(policy.log_std(params), log_std)


def test_flat_vector_and_back():
    policy = GaussianPolicy(gaussian_mlp(3, 2, (4,)))
    theta = tf.range(sum(policy.sizes), dtype=tf.float32)
    policy.assign(theta)
    np.testing.assert_array_equal(policy.flat(), theta)
    assert policy.params()[-1].numpy().tolist() == theta[-2:].numpy().tolist()
    assert policy.stacked(3)[0].shape == (3, 3, 4)
