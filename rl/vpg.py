"""Vanilla policy gradient: MAML's inner update, adaptation at test time, and pretraining.

It follows `VPG` and `MAMLVPG` of cbfinn/maml_rl, and its `MAMLTRPO(use_maml=False)`, which trains one policy on all
tasks at once.
"""

import tensorflow as tf

from maml_tf import checks
from maml_tf.adaptation import adapt
from maml_tf.distribution import ALONE, Alone
from maml_tf.optimizers import adam
from maml_tf.task_axis import MAP, known_task_axis, map_tasks, mean_over_tasks
from rl.advantages import Samples
from rl.policy import GaussianPolicy, Params, log_prob


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean over the samples whose mask is 1; values and mask [samples]."""
    return tf.reduce_sum(values * mask) / tf.reduce_sum(mask)


def policy_gradient_loss(policy: GaussianPolicy, params: Params, samples: Samples) -> tf.Tensor:
    """-mean(log pi(a|s) * advantage), whose gradient is the policy gradient.

    Args:
        policy: GaussianPolicy.
        params: list of tensors.
        samples: Samples of one task.

    Returns:
        A scalar.
    """
    of_actions = log_prob(*policy(params, samples.observations), samples.actions)
    return -masked_mean(of_actions * samples.advantages, samples.mask)


def update(policy: GaussianPolicy, params: Params, samples: Samples, step_size: float | tf.Tensor) -> Params:
    """Makes one gradient step of one task on `policy_gradient_loss`, also of log_std; differentiable in params.

    If the policy is `head_only`, the step changes only the output layer and log_std.

    Args:
        policy, params, samples: as for `policy_gradient_loss`.
        step_size: float or scalar tensor.

    Returns:
        params after the step.
    """

    fixed, adapted = params[: policy.num_fixed], params[policy.num_fixed :]

    def loss(adapted, state):
        return policy_gradient_loss(policy, [*fixed, *adapted], samples), state

    return [*fixed, *adapt(loss, adapted, [], step_size=step_size, num_updates=1)[0]]


class TaskUpdate:
    """Makes the `update` of each task of a batch, each with its own parameters; compiled.

    Args:
        policy: GaussianPolicy.
        task_axis: MAP or VECTORIZE of `maml_tf.task_axis`; another one raises a UserError.
    """

    def __init__(self, policy: GaussianPolicy, task_axis: str = MAP):
        self.policy = policy
        self.task_axis = known_task_axis(task_axis)
        self._compiled = tf.function(self._update, autograph=False)

    def __call__(self, params: Params, samples: Samples, step_size: float) -> Params:
        """Updates every task.

        Args:
            params: list of tensors with a leading task axis.
            samples: Samples.
            step_size: float.

        Returns:
            params after the step, with the task axis.
        """
        self.policy.pure.check_trainable()
        return self._compiled(params, samples, tf.constant(step_size, self.policy.dtype))

    def _update(self, params, samples, step_size):
        signature = [tf.TensorSpec(shape, self.policy.dtype) for shape in self.policy.shapes]
        tasks = (params, samples)
        return map_tasks(lambda task: update(self.policy, *task, step_size), tasks, signature, self.task_axis)


LEARNING_RATE = 1e-3


class AdamPretraining:
    """Trains a policy without adaptation: a step is one of Adam on the inner loss, averaged over tasks.

    Args:
        policy: GaussianPolicy; its variables are changed.
        task_axis: MAP or VECTORIZE of `maml_tf.task_axis`; another one raises a UserError.
        workers: the processes that share the tasks.
    """

    def __init__(self, policy: GaussianPolicy, task_axis: str = MAP, workers: Alone = ALONE):
        self.policy = policy
        self.task_axis = known_task_axis(task_axis)
        self.workers = workers
        self.optimizer = adam(LEARNING_RATE)
        self.optimizer.build(policy.variables)
        self._compiled = tf.function(self._gradients, autograph=False)

    def adapt(self, params: Params, samples: Samples) -> Params:
        """Raises ValueError: there are no inner updates."""
        raise ValueError("pretraining adapts nothing, so it has no inner update")

    def step(self, before: tuple[Samples, ...], after: Samples) -> dict[str, float]:
        """Makes one update, and assigns the policy's variables.

        Args:
            before: empty, since nothing is adapted.
            after: Samples, drawn with the policy.

        Returns:
            dict of floats: loss_before.
        """
        if before:
            raise ValueError("pretraining adapts nothing, so there are no samples of inner updates")
        self.policy.pure.check_trainable()
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
        signature = tf.TensorSpec([], self.policy.dtype), vectors
        mean = mean_over_tasks(of_task, samples, signature, self.task_axis)
        return self.workers.mean(mean, checks.size(samples.mask))
