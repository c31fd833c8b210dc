"""Tests of the parts of TRPO on small problems with known answers."""

import numpy as np
import pytest
import tensorflow as tf

from rl import trpo
from tests.rl.goldens import estimates

GOLDEN = {key.removeprefix("cg/"): value for key, value in estimates().items() if key.startswith("cg/")}


def matrix_product(matrix):
    return lambda vector: tf.linalg.matvec(tf.constant(matrix), vector)


def test_conjugate_gradient_follows_the_original():
    for iterations, expected in enumerate(GOLDEN["iterates"]):
        found = trpo.conjugate_gradient(matrix_product(GOLDEN["A"]), tf.constant(GOLDEN["b"]), iterations)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_conjugate_gradient_ends_early():
    products = []

    def product(vector):
        products.append(1)
        return matrix_product(GOLDEN["A_early"])(vector)

    found = trpo.conjugate_gradient(product, tf.constant(GOLDEN["b"]))
    assert len(products) == int(GOLDEN["n_early"]) - 1 == 1  # the original's count includes the start
    np.testing.assert_allclose(found, GOLDEN["x_early"], rtol=1e-9)


def test_finite_differences_of_a_quadratic_are_exact():
    random = np.random.default_rng(0)
    matrix, theta, vector = random.standard_normal((5, 5)), *random.standard_normal((2, 5))
    found = trpo.finite_difference_product(matrix_product(matrix), tf.constant(theta), tf.constant(vector))
    np.testing.assert_allclose(found, matrix @ vector, rtol=1e-12)
    assert trpo.finite_difference_step(tf.constant([3.0, 4.0])).numpy() == pytest.approx(0.2)


def test_step_size():
    d = tf.constant([1.0, 2.0], tf.float64)
    assert trpo.step_size(d, 3 * d, 0.01).numpy() == pytest.approx(np.sqrt(0.02 / 15))
    assert trpo.step_size(d, -d, 0.01).numpy() == 1  # in place of the root of a negative number
    assert trpo.step_size(d * np.nan, d, 0.01).numpy() == 1


# theta is 0 and the full step is -1, so that trial k is at 0.8**k; the loss before is 0.
LINE_SEARCHES = {
    "at once": (lambda x: -x, lambda x: 0.0 * x, 0, False),
    "KL too large": (lambda x: -x, lambda x: 0.02 * x, 4, False),
    "loss too large": (lambda x: x - 0.7, lambda x: 0.0 * x, 2, False),
    "never lower": (lambda x: x, lambda x: 0.0 * x, 14, True),
    "loss the same": (lambda x: 0.0 * x, lambda x: 0.0 * x, 14, True),
    "NaN": (lambda x: x * np.nan, lambda x: 0.0 * x, 14, True),
    "KL NaN": (lambda x: -x, lambda x: x * np.nan, 14, True),
    "KL equals delta": (lambda x: -x, lambda x: 0.0 * x + 0.01, 0, True),
}


@pytest.mark.parametrize(
    ("case", "compiled"), [*((case, False) for case in LINE_SEARCHES), ("KL too large", True), ("NaN", True)]
)
def test_line_search(case, compiled):
    loss, kl, backtracks, rejected = LINE_SEARCHES[case]

    def search(theta):
        def evaluate(theta):
            return loss(theta[0]), kl(theta[0])

        return trpo.line_search(evaluate, theta, -tf.ones_like(theta), tf.zeros([], theta.dtype), trpo.TrustRegion())

    found = (tf.function(search, autograph=False) if compiled else search)(tf.zeros([1], tf.float64))
    assert (int(found.backtracks), bool(found.rejected)) == (backtracks, rejected)
    assert found.theta.numpy()[0] == pytest.approx(0.8**backtracks)


def test_step_on_a_quadratic_model():
    hessian = np.diag([1.0, 4.0])

    def evaluate(theta):
        return tf.reduce_sum(theta), tf.reduce_sum(theta * matrix_product(hessian)(theta)) / 2

    def differentiate(theta):
        return *evaluate(theta), tf.ones_like(theta)

    def product(theta, vector):
        return matrix_product(hessian)(vector)

    objective = trpo.Objective(evaluate, differentiate, product)
    step = trpo.step(tf.zeros([2], tf.float64), objective, trpo.TrustRegion(delta=0.1))
    # The natural gradient is H^-1 (1, 1) = (1, 1/4); its squared length in the metric of H is 1.25.
    expected = -np.sqrt(0.2 / 1.25) * np.array([1, 0.25])
    np.testing.assert_allclose(step.theta, expected, rtol=1e-5)
    assert not step.rejected
    assert step.kl.numpy() == pytest.approx(0.1, rel=1e-4)
    assert (float(step.loss_before), float(step.kl_before)) == (0, 0)


def test_rejected_step_changes_nothing():
    def evaluate(theta):
        return -tf.reduce_sum(theta**2), tf.reduce_sum(theta) * np.nan

    theta = tf.constant([1.0, 2.0], tf.float64)
    objective = trpo.Objective(evaluate, lambda theta: (*evaluate(theta), 2 * theta), lambda theta, vector: vector)
    step = trpo.step(theta, objective, trpo.TrustRegion())
    assert step.rejected
    np.testing.assert_array_equal(step.theta, theta)
    assert step.loss.numpy() == step.loss_before.numpy() == -5
