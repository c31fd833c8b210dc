"""Pretraining one policy on all tasks at once: `MAMLTRPO(use_maml=False)` of cbfinn/maml_rl."""

import tensorflow as tf

from maml_tf import task_axis
from maml_tf.meta_learner import adam
from rl.vpg import policy_gradient_loss

LEARNING_RATE = 1e-3


class AdamPretraining:
    """One step of Adam on the mean over tasks of the inner loss, without any adaptation.

    Args:
        policy: GaussianPolicy, whose variables it changes.
        how: over tasks, task_axis.MAP or VECTORIZE.
    """

    def __init__(self, policy, how=task_axis.MAP):
        self.policy = policy
        self.how = how
        self.optimizer = adam(LEARNING_RATE)
        self.optimizer.build(policy.variables)
        self._compiled = tf.function(self._gradients, autograph=False)

    def step(self, before, after):
        """One update; assigns the policy's variables.

        Args:
            before: (), since nothing is adapted.
            after: Samples, drawn with the policy.

        Returns:
            dict of floats: loss_before.
        """
        if before:
            raise ValueError("pretraining adapts nothing, so there are no samples of inner updates")
        loss, gradients = self._compiled(self.policy.params(), after)
        self.optimizer.apply(gradients, self.policy.variables)
        return {"loss_before": float(loss)}

    def _gradients(self, params, samples):
        def of_task(samples):
            with tf.GradientTape() as tape:
                tape.watch(params)
                loss = policy_gradient_loss(self.policy, params, samples)
            return loss, tape.gradient(loss, params)

        vectors = [tf.TensorSpec(shape, self.policy.dtype) for shape in self.policy.shapes]
        return task_axis.mean_over_tasks(of_task, samples, (tf.TensorSpec([], self.policy.dtype), vectors), self.how)
