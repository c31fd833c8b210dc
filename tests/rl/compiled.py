"""What the goldens check of a meta-update, compiled once for all configurations of the same shapes."""

import functools

import tensorflow as tf

from maml_tf.task_axis import MAP
from rl import trpo
from rl.maml_trpo import FINITE_DIFFERENCE, MAMLTRPO, MetaObjective
from tests.rl.goldens import Golden


def inputs(golden):
    """(theta0, alpha, samples of the inner updates, samples after them)."""
    updates = golden.settings["num_grad_updates"]
    before = tuple(golden.samples(step) for step in range(updates))
    alpha = tf.constant(golden.settings["alpha"], golden.dtype)
    return golden.tensor("theta0"), alpha, before, golden.samples(updates)


def learner_of(golden, hessian_product=FINITE_DIFFERENCE, how=MAP):
    """A MAMLTRPO at theta0 with alpha and delta of the golden; goldens of the same shapes share it."""
    family = "big1" if golden.name == "big1" else "small2_fixed" if golden.name == "small2_fixed" else "small1"
    learner = _learner(family, golden.dtype, hessian_product, how)
    learner.step_size = golden.settings["alpha"]
    learner.region = trpo.TrustRegion(delta=golden.settings["delta"])
    learner.policy.assign(golden.tensor("theta0"))
    return learner


@functools.cache
def _learner(family, dtype, hessian_product, how):
    return MAMLTRPO(Golden(family, dtype).policy(), hessian_product=hessian_product, how=how)


@functools.cache
def derivatives_of(learner):
    """Compiled (theta, alpha, before, after) -> (loss, kl), gradients of both."""

    @tf.function(autograph=False)
    def derivatives(theta, alpha, before, after):
        objective = MetaObjective(learner.policy, alpha, before, after, learner.how)
        loss, kl, gradient = objective.differentiate(theta)
        return loss, kl, gradient, objective.kl_gradient(theta)

    return derivatives


@functools.cache
def solver_of(learner):
    """Compiled (theta, alpha, before, after, vector, iterations) -> damped product, solution by CG."""

    @tf.function(autograph=False)
    def solve(theta, alpha, before, after, vector, iterations):
        problem = learner.problem(alpha, before, after)

        def product(vector):
            return problem.kl_product(theta, vector) + learner.region.damping * vector

        return product(vector), trpo.conjugate_gradient(product, vector, iterations)

    return solve
