"""What a policy learns from: the steps of its paths with their advantages, as tensors of static shape."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rl import baseline, trajectories


class Samples(NamedTuple):
    """Steps of a batch of tasks, the paths of a task one after the other; without the task axis, of one task.

    observations: [tasks, samples, obs_dim].
    actions: [tasks, samples, act_dim], not clipped.
    advantages: [tasks, samples], centred; 0 where the mask is.
    mask: [tasks, samples], 1 for steps that were taken, 0 for padding.
    means: [tasks, samples, act_dim], of the policy that sampled.
    log_stds: [tasks, act_dim], of the policy that sampled.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    advantages: tf.Tensor
    mask: tf.Tensor
    means: tf.Tensor
    log_stds: tf.Tensor


def from_paths(paths, discount, gae_lambda, dtype=np.float32):
    """Fits the baseline to every task and flattens its paths.

    Args:
        paths: Paths.
        discount: gamma.
        gae_lambda: lambda of the advantages.
        dtype: of the tensors.

    Returns:
        (Samples, explained variance of the baseline over all tasks).
    """
    returns = trajectories.discounted_sums(paths.rewards * paths.mask, discount)
    values = baseline.values(paths.observations, returns, paths.mask)
    advantages = trajectories.advantages(paths.rewards * paths.mask, values, paths.mask, discount, gae_lambda)
    tasks = len(paths.mask)

    def flat(array):
        return tf.constant(array.reshape(tasks, -1, *array.shape[3:]), dtype)

    samples = Samples(
        flat(paths.observations),
        flat(paths.actions),
        flat(advantages),
        flat(paths.mask),
        flat(paths.means),
        tf.constant(paths.log_stds, dtype),
    )
    return samples, trajectories.explained_variance(values, returns, paths.mask)
