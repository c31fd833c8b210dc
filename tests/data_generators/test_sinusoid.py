"""Sinusoid tasks: their distribution, their determinism, and the original's own 600 test tasks."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid

GOLDENS = Path(__file__).parents[1] / "goldens"


def as_numpy(tasks):
    return type(tasks)(*(np.asarray(array) for array in tasks))


def same(tasks, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(as_numpy(tasks), as_numpy(others), strict=True))


def test_shapes_and_types():
    data = Sinusoid(num_support=5, num_query=7)
    tasks = data.sample(0, "train", 0, 4)
    assert [tuple(array.shape) for array in tasks] == [(4, 5, 1), (4, 5, 1), (4, 7, 1), (4, 7, 1)]
    assert all(array.dtype == tf.float32 for array in tasks)
    assert (data.input_shape, data.output_size) == ((1,), 1)
    assert Sinusoid(3).sample(0, "train", 0, 2).query_x.shape == (2, 3, 1)


def test_distribution_is_that_of_the_paper():
    tasks = as_numpy(Sinusoid(10, oracle=True).sample(3, "train", 5, 4000))
    x, amplitude, phase = np.moveaxis(tasks.support_x, -1, 0)
    expected = ((x, -5, 5), (amplitude[:, 0], 0.1, 5), (phase[:, 0], 0, math.pi))
    for values, low, high in expected:
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6
        quantiles = (np.quantile(values, [0.01, 0.25, 0.5, 0.75, 0.99]) - low) / (high - low)
        np.testing.assert_allclose(quantiles, [0.01, 0.25, 0.5, 0.75, 0.99], atol=0.025)
    correlation = np.corrcoef([x[:, 0], x[:, 1], amplitude[:, 0], phase[:, 0]]) - np.eye(4)
    assert np.abs(correlation).max() < 0.06


def test_targets_are_the_sinusoid_of_the_task():
    for part in range(2):
        tasks = as_numpy(Sinusoid(6, 9, oracle=True).sample(0, "val", 2, 50))
        inputs, targets = tasks[2 * part].astype(np.float64), tasks[2 * part + 1]
        x, amplitude, phase = np.moveaxis(inputs, -1, 0)
        np.testing.assert_allclose(targets[..., 0], amplitude * np.sin(x - phase), atol=2e-6)


def test_oracle_sees_the_same_tasks_with_amplitude_and_phase_constant_over_support_and_query():
    plain, oracle = (as_numpy(Sinusoid(4, oracle=flag).sample(1, "train", 9, 8)) for flag in (False, True))
    assert Sinusoid(4, oracle=True).input_shape == (3,)
    for index in (0, 2):
        assert np.array_equal(oracle[index][..., :1], plain[index])
        assert np.array_equal(oracle[index + 1], plain[index + 1])
    task = np.concatenate([oracle.support_x, oracle.query_x], axis=1)[..., 1:]
    assert np.array_equal(task, np.broadcast_to(task[:, :1], task.shape))


def test_same_arguments_same_tasks_and_any_other_argument_other_tasks():
    data = Sinusoid(10)
    tasks = data.sample(0, "train", 3, 25)
    assert same(tasks, Sinusoid(10).sample(0, "train", 3, 25))
    assert same(tasks, data.sample(tf.constant(0), "train", tf.constant(3, tf.int64), 25))
    seen = {tasks.support_x.numpy().tobytes()}
    others = [(seed, split, i) for seed in (0, 1, 2, 3) for split in ("train", "val", "test") for i in (3, 4)]
    for arguments in others:
        seen.add(data.sample(*arguments, 25).support_x.numpy().tobytes())
    assert len(seen) == len(others)


def test_numbers_of_a_seed_never_change():
    x = Sinusoid(2).sample(0, "train", 0, 1).support_x.numpy()
    np.testing.assert_allclose(x.ravel(), [3.04297, -3.285727], atol=1e-6)


def test_eager_function_and_while_loop_agree_to_the_bit():
    data = Sinusoid(10, oracle=True)

    @tf.function
    def compiled(seed, iteration):
        return data.sample(seed, "train", iteration, 25)

    @tf.function
    def loop(seed, steps):
        zeros = type(tasks)(*(tf.zeros_like(array) for array in tasks))
        return tf.while_loop(
            lambda i, _: i < steps, lambda i, _: (i + 1, data.sample(seed, "train", i, 25)), (0, zeros)
        )

    tasks = data.sample(4, "train", 6, 25)
    assert same(tasks, compiled(tf.constant(4), tf.constant(6)))
    assert same(tasks, loop(tf.constant(4), tf.constant(7))[1])


def test_xla_draws_the_same_tasks_but_for_rounding():
    data = Sinusoid(10, oracle=True)
    compiled = tf.function(lambda seed, i: data.sample(seed, "train", i, 25), jit_compile=True)
    for array, other in zip(data.sample(4, "train", 6, 25), compiled(tf.constant(4), tf.constant(6)), strict=True):
        np.testing.assert_allclose(array, other, atol=5e-6)


@pytest.mark.parametrize("shots", [5, 10])
def test_test_tasks_are_the_original_ones(shots):
    golden = np.load(GOLDENS / f"sinusoid_tasks_K{shots}.npz")
    tasks = Sinusoid(shots).test_tasks()
    assert all(array.dtype == np.float32 for array in tasks)
    for name, support, query in (("x", tasks.support_x, tasks.query_x), ("y", tasks.support_y, tasks.query_y)):
        assert support.shape == query.shape == (600, shots, 1)
        assert np.array_equal(np.concatenate([support, query], axis=1), golden[f"test_{name}"].astype(np.float32))

    oracle = Sinusoid(shots, oracle=True).test_tasks(30)
    assert np.array_equal(oracle.query_x[..., :1], tasks.query_x[:30])
    for column, name in ((1, "amp"), (2, "phase")):
        expected = golden[f"test_{name}"][:30, None].astype(np.float32)
        assert np.array_equal(oracle.support_x[..., column], np.broadcast_to(expected, [30, shots]))


@pytest.mark.parametrize("sizes", [(0, None), (5, 0), (-1, 5)])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(UserError, match="at least 1 support and 1 query point"):
        Sinusoid(*sizes)
