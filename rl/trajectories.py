"""Trajectories of a batch of tasks, padded to one length."""

import numpy as np


def discounted_sums(values, discount):
    """y[t] = values[t] + discount * y[t + 1] along the last axis.

    Args:
        values: [..., horizon].
        discount: between 0 and 1.

    Returns:
        [..., horizon] float64.
    """
    sums = np.array(values, np.float64)
    for t in range(sums.shape[-1] - 2, -1, -1):
        sums[..., t] += discount * sums[..., t + 1]
    return sums


def advantages(rewards, values, mask, discount, gae_lambda):
    """Generalised advantage estimates (Schulman et al. 2016, equation 16), centred per task.

    As in the original, the value after the last step of a path is 0, even where the time limit ended it.

    Args:
        rewards: [..., paths, horizon], 0 after the end of a path.
        values: [..., paths, horizon], the baseline's predictions.
        mask: [..., paths, horizon], 1 for steps that were taken.
        discount: gamma.
        gae_lambda: lambda; 1 gives discounted return minus value.

    Returns:
        [..., paths, horizon] float64, over the steps taken of a task with mean 0 and standard deviation 1; 0 elsewhere.
    """
    values = values * mask
    next_values = np.concatenate([values[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    errors = (rewards + discount * next_values - values) * mask
    return centred(discounted_sums(errors, discount * gae_lambda), mask)


def centred(values, mask):
    """(values - mean) / (std + 1e-8) over the steps taken of each task (the last two axes); 0 elsewhere."""
    axes = (-2, -1)
    count = mask.sum(axes, keepdims=True, dtype=np.float64)
    mean = (values * mask).sum(axes, keepdims=True) / count
    deviations = (values - mean) * mask
    return deviations / (np.sqrt((deviations**2).sum(axes, keepdims=True) / count) + 1e-8)


def explained_variance(predictions, targets, mask):
    """1 - var(targets - predictions) / var(targets) over all steps taken; 1 or 0 as in rllab for constant targets.

    Args:
        predictions, targets, mask: arrays of one shape.
    """
    taken = mask > 0
    predictions, targets = predictions[taken], targets[taken]
    variance = np.var(targets)
    if np.isclose(variance, 0):
        return 0.0 if np.var(predictions) > 0 else 1.0
    return float(1 - np.var(targets - predictions) / (variance + 1e-8))
