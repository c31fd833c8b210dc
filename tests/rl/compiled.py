"""The parts of a meta-update that goldens check, compiled once for all configurations with the same shapes."""

import functools

import tensorflow as tf

from maml_tf.task_axis import MAP
from rl import trpo
from rl.experiment import EXACT
from rl.maml_trpo import MAMLTRPO, MetaObjective
from tests.rl.goldens import Golden


def inputs(golden):
    """Returns (theta0, alpha, samples of the inner updates, samples after them)."""
    updates = golden.settings["num_grad_updates"]
    before = tuple(golden.samples(step) for step in range(updates))
    alpha = tf.constant(golden.settings["alpha"], golden.dtype)
    return golden.tensor("theta0"), alpha, before, golden.samples(updates)


def learner_of(golden, task_axis=MAP):
    """Returns a MAMLTRPO at theta0 with the golden's alpha and delta; goldens with the same shapes share it."""
    family = "big1" if golden.name == "big1" else "small2_fixed" if golden.name == "small2_fixed" else "small1"
    learner = _learner(family, golden.dtype, task_axis)
    learner.step_size = golden.settings["alpha"]
    learner.region = trpo.TrustRegion(delta=golden.settings["delta"])
    learner.policy.assign(golden.tensor("theta0"))
    return learner


@functools.cache
def _learner(family, dtype, task_axis):
    return MAMLTRPO(Golden(family, dtype).policy(), task_axis=task_axis)


class Parts:
    """The parts of a learner's meta-update, each compiled once for all goldens that share the learner.

    The compiled parts and the products take (theta, alpha, before, after), as `inputs` returns them.
    """

    def __init__(self, learner):
        self._learner = learner
        self.evaluate = self._compiled(MetaObjective.evaluate)
        self.differentiate = self._compiled(MetaObjective.differentiate)
        self.kl_gradient = self._compiled(MetaObjective.kl_gradient)
        exact = MAMLTRPO(learner.policy, hessian_product=EXACT, task_axis=learner.task_axis)

        def exact_product(theta, alpha, before, after, vector):
            return exact.objective(alpha, before, after).kl_product(theta, vector)

        self._exact_product = tf.function(exact_product, autograph=False)

    def objective(self, alpha, before, after):
        """Returns the MetaObjective, not compiled."""
        return MetaObjective(self._learner.policy, alpha, before, after, self._learner.task_axis)

    def product(self, theta, alpha, before, after):
        """Returns a function: vector -> its damped product with the KL's Hessian, by finite differences."""
        objective = self.trpo_objective(alpha, before, after)
        return lambda vector: objective.kl_product(theta, vector) + self._learner.region.damping * vector

    def exact_product(self, theta, alpha, before, after):
        """As `product`, but with the exact Hessian."""
        damping = self._learner.region.damping
        return lambda vector: self._exact_product(theta, alpha, before, after, vector) + damping * vector

    def trpo_objective(self, alpha, before, after):
        """Returns the trpo.Objective of the meta-update, made of these parts."""
        tasks = (alpha, before, after)

        def product(theta, vector):
            return trpo.finite_difference_product(lambda theta: self.kl_gradient(theta, *tasks), theta, vector)

        return trpo.Objective(
            lambda theta: self.evaluate(theta, *tasks), lambda theta: self.differentiate(theta, *tasks), product
        )

    def _compiled(self, method):
        def part(theta, alpha, before, after):
            return method(self.objective(alpha, before, after), theta)

        return tf.function(part, autograph=False)


parts_of = functools.cache(Parts)
