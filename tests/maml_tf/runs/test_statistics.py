import numpy as np
import pytest

from maml_tf.runs.statistics import mean_ci95


def test_by_hand():
    mean, ci95 = mean_ci95(np.array([[1.0, 7.0], [3.0, 7.0]]))
    assert mean.tolist() == [2, 7]
    assert ci95.tolist() == [1.96 / np.sqrt(2), 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, -1])
def test_no_bit_is_other_than_by_the_formula(dtype, axis):
    values = np.random.default_rng(0).normal(size=(600, 11)).astype(dtype)
    mean, ci95 = mean_ci95(values, axis)
    np.testing.assert_array_equal(mean, values.mean(axis))
    np.testing.assert_array_equal(ci95, 1.96 * values.std(axis) / np.sqrt(values.shape[axis]))


def test_nan_and_infinity_spread_without_a_warning():
    mean, ci95 = mean_ci95(np.array([[1.0, np.nan, np.inf], [1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(mean, [1, np.nan, np.inf])
    np.testing.assert_array_equal(ci95, [0, np.nan, np.nan])
