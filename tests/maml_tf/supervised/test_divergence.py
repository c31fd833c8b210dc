"""Tests that diverged tasks are counted, and that the mean of the others is reported separately."""

import numpy as np
import pytest

from maml_tf.supervised.evaluation import Evaluation, evaluate
from tests.maml_tf.supervised.test_evaluation import Recorder, draw


def test_tasks_that_diverge_are_counted_and_the_others_have_a_mean_of_their_own():
    query = np.tile([[2.0, 1.0, 0.5]], [600, 1])
    query[0, 1:], query[1, 2], query[2, 2], query[3, 2] = np.nan, np.inf, 2000.1, 1999.9
    found = Evaluation("loss", np.full(600, 3.0), query)
    np.testing.assert_array_equal(found.diverged, [0, 1, 3])
    np.testing.assert_array_equal(found.median, [2, 1, 0.5])
    assert (found.support_median, found.support_diverged) == (3, 0)
    mean, ci95 = found.without_diverged(2)
    assert mean == pytest.approx((1999.9 + 596 * 0.5) / 597)
    assert ci95 == pytest.approx(1.96 * np.std([1999.9, *[0.5] * 596]) / np.sqrt(597))
    assert np.isnan(found.mean[1:]).all()


def test_nothing_is_above_a_bound_that_there_is_not():
    nothing = Evaluation("loss", np.zeros(4), np.array([[0.0, 5.0], [0.0, 0.0], [0.0, np.nan], [np.nan, 1e30]]))
    np.testing.assert_array_equal(nothing.diverged, [1, 1])
    all_gone = Evaluation("loss", np.full(2, np.nan), np.full([2, 2], np.nan))
    np.testing.assert_array_equal(all_gone.diverged, [2, 2])
    assert np.isnan(all_gone.without_diverged(1)).all()
    assert all_gone.support_diverged == 2


def test_tasks_that_diverge_are_known_by_their_losses_where_accuracies_are_reported():
    query, losses = np.full([4, 2], 0.5), np.ones([4, 2])
    losses[3, 1], query[3, 1] = np.nan, 0.2
    found = Evaluation("accuracy", np.full(4, 0.5), query, losses=losses)
    np.testing.assert_array_equal(found.diverged, [0, 1])
    assert found.without_diverged(1) == (0.5, 0)
    assert found.support_diverged == 0
    assert evaluate(Recorder(accuracy=True), draw, num_tasks=13, num_updates=1).losses.shape == (13, 2)
