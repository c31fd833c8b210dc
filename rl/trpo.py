"""Trust region policy optimisation (Schulman et al. 2015) on flat vectors; follows rllab's ConjugateGradientOptimizer.

Everything here is a pure function of tensors, to be called inside `tf.function`; nothing depends on policies or
environments.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TrustRegion:
    """Settings of a step, with the original's values.

    delta: bound on the mean KL divergence.
    cg_iterations, cg_tolerance: conjugate gradient ends after this many iterations, or once the squared norm of the
        residual is below this tolerance.
    damping: number that is added to the Hessian's diagonal.
    backtrack_ratio, max_trials: each trial of the line search multiplies the step by this ratio; it gives up after this
        many trials.
    """

    delta: float = 0.01
    cg_iterations: int = 10
    cg_tolerance: float = 1e-10
    damping: float = 1e-5
    backtrack_ratio: float = 0.8
    max_trials: int = 15


class Objective(NamedTuple):
    """The objective to minimise within the trust region, as functions of a vector theta.

    evaluate: theta -> (loss, kl).
    differentiate: theta -> (loss, kl, gradient of the loss).
    kl_product: (theta, vector) -> the KL's Hessian at theta times the vector.
    """

    evaluate: Callable
    differentiate: Callable
    kl_product: Callable


class Step(NamedTuple):
    """The result of a step; all values but theta are scalars.

    theta: new parameters; the old ones if the step was rejected.
    loss_before, kl_before, loss, kl: loss and KL at the old and at the new parameters.
    backtracks: number of times that the step was shortened.
    rejected: whether the line search failed.
    """

    theta: tf.Tensor
    loss_before: tf.Tensor
    kl_before: tf.Tensor
    loss: tf.Tensor
    kl: tf.Tensor
    backtracks: tf.Tensor
    rejected: tf.Tensor


class Trial(NamedTuple):
    """The last trial of a line search; `backtracks` is its index."""

    theta: tf.Tensor
    loss: tf.Tensor
    kl: tf.Tensor
    backtracks: tf.Tensor
    rejected: tf.Tensor


def step(theta: tf.Tensor, objective: Objective, region: TrustRegion) -> Step:
    """Makes a step: natural gradient by conjugate gradient, length by the trust region, then backtracking line search.

    Args:
        theta: [parameters].
        objective: Objective.
        region: TrustRegion.

    Returns:
        Step.
    """
    loss, kl, gradient = objective.differentiate(theta)

    def damped_product(vector):
        return objective.kl_product(theta, vector) + region.damping * vector

    direction = conjugate_gradient(damped_product, gradient, region.cg_iterations, region.cg_tolerance)
    full_step = step_size(direction, damped_product(direction), region.delta) * direction
    search = line_search(objective.evaluate, theta, full_step, loss, region)
    return Step(
        tf.where(search.rejected, theta, search.theta),
        loss,
        kl,
        tf.where(search.rejected, loss, search.loss),
        tf.where(search.rejected, kl, search.kl),
        search.backtracks,
        search.rejected,
    )


def conjugate_gradient(
    product: Callable[[tf.Tensor], tf.Tensor], b: tf.Tensor, iterations: int = 10, tolerance: float = 1e-10
) -> tf.Tensor:
    """Solves A x = b approximately, from x = 0 (Demmel, Applied Numerical Linear Algebra, algorithm 6.11).

    Args:
        product: vector -> A times the vector; A symmetric and positive definite.
        b: [n].
        iterations: largest number of iterations.
        tolerance: the iteration ends once the squared norm of the residual is below this; checked after each iteration.

    Returns:
        x [n].
    """

    def unfinished(i, x, p, r, rr):
        return (i < iterations) & ((i == 0) | ~(rr < tolerance))

    def body(i, x, p, r, rr):
        z = product(p)
        v = rr / _dot(p, z)
        x, r = x + v * p, r - v * z
        new_rr = _dot(r, r)
        return i + 1, x, r + new_rr / rr * p, r, new_rr

    start = (0, tf.zeros_like(b), b, b, _dot(b, b))
    return tf.while_loop(unfinished, body, start, parallel_iterations=1)[1]


def finite_difference_step(theta: tf.Tensor) -> tf.Tensor:
    """The step eps of the finite differences: 1 / (|theta| + 1e-8).

    The original intends a base of 1e-8 in place of the 1, but passes the number of slices, 1, as that argument. We keep
    the 1: in float32, a base of 1e-8 gives only rounding errors.
    """
    return 1 / (tf.norm(theta) + 1e-8)


def finite_difference_product(
    gradient: Callable[[tf.Tensor], tf.Tensor], theta: tf.Tensor, vector: tf.Tensor
) -> tf.Tensor:
    """The Hessian at theta times a vector, by symmetric finite differences of the gradient.

    (g(theta + eps v) - g(theta - eps v)) / (2 eps). v is not normalised, so for a long v this averages the Hessian over
    a wide neighbourhood, and is not linear in v.

    Args:
        gradient: theta -> gradient.
        theta, vector: [n].

    Returns:
        [n].
    """
    eps = finite_difference_step(theta)
    # A loop over the two sides, so that the graph holds the gradient only once; building it takes seconds.
    signs = tf.constant([1, -1], theta.dtype)
    sides = tf.map_fn(lambda sign: sign * gradient(theta + sign * eps * vector), signs, parallel_iterations=1)
    return tf.reduce_sum(sides, axis=0) / (2 * eps)


def step_size(direction: tf.Tensor, product: tf.Tensor, delta: float | tf.Tensor) -> tf.Tensor:
    """sqrt(2 delta / (d . H d + 1e-8)), the length at which the quadratic model of the KL reaches delta; NaN becomes 1.

    Args:
        direction: d.
        product: H d, damped.
        delta: bound on the KL.
    """
    size = tf.sqrt(2 * delta / (_dot(direction, product) + 1e-8))
    return tf.where(tf.math.is_nan(size), tf.ones_like(size), size)


def line_search(
    evaluate: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    theta: tf.Tensor,
    full_step: tf.Tensor,
    loss_before: tf.Tensor,
    region: TrustRegion,
) -> Trial:
    """Tries theta - ratio^k * full_step for k = 0, 1, ... until the loss is lower and the KL at most delta.

    Args:
        evaluate: theta -> (loss, kl).
        theta, full_step: [n].
        loss_before: loss at theta.
        region: TrustRegion.

    Returns:
        Trial. It is rejected, as in the original, if the last trial's loss or KL is NaN, its loss is not lower, or its
        KL is delta or more.
    """

    def within(loss, kl):
        return (loss < loss_before) & (kl <= region.delta)

    def trial(k):
        ratio = tf.constant(region.backtrack_ratio, theta.dtype)  # a cast would pass through float32
        return theta - ratio ** tf.cast(k, theta.dtype) * full_step

    def unfinished(k, loss, kl):
        return (k < region.max_trials - 1) & ((k < 0) | ~within(loss, kl))

    def body(k, loss, kl):
        return k + 1, *evaluate(trial(k + 1))

    nothing = tf.constant(float("nan"), theta.dtype)
    k, loss, kl = tf.while_loop(unfinished, body, (-1, nothing, nothing), parallel_iterations=1)
    # NaN compares false, so it is rejected too.
    accepted = (loss < loss_before) & (kl < region.delta)
    return Trial(trial(k), loss, kl, k, ~accepted)


def _dot(a, b):
    return tf.reduce_sum(a * b)
