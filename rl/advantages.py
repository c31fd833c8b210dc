"""Turns trajectories into what a policy learns from: returns, a linear baseline, advantages, and tensors of samples.

The baseline is ridge regression on features of the observation and the time (Duan et al. 2016; rllab's
`LinearFeatureBaseline`).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rl.sampling import Trajectories

RIDGE = 1e-5
_ATTEMPTS = 5  # attempts, each with ten times the ridge, until the solution has no NaN


def features(observations: np.ndarray) -> np.ndarray:
    """[o, o^2, t, t^2, t^3, 1] with o clipped to +-10 and t = step / 100.

    Args:
        observations: [..., horizon, obs_dim].

    Returns:
        [..., horizon, 2 * obs_dim + 4] float64.
    """
    clipped = np.clip(np.asarray(observations, np.float64), -10, 10)
    t = np.arange(clipped.shape[-2])[:, None] / 100.0
    of_time = np.broadcast_to(np.concatenate([t, t**2, t**3, np.ones_like(t)], axis=-1), (*clipped.shape[:-1], 4))
    return np.concatenate([clipped, clipped**2, of_time], axis=-1)


def fit(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Coefficients w that minimise |rows w - targets|^2 + RIDGE |w|^2.

    Args:
        rows: [samples, features] float64.
        targets: [samples].

    Returns:
        [features] float64; it contains NaN if every attempt gave NaN.
    """
    gram, moment = rows.T @ rows, rows.T @ targets
    ridge = RIDGE
    for _ in range(_ATTEMPTS):
        # Least squares, as in the original: constant features make gram almost singular.
        coefficients = np.linalg.lstsq(gram + ridge * np.identity(len(gram)), moment, rcond=-1)[0]
        if not np.isnan(coefficients).any():
            break
        ridge *= 10
    return coefficients


def fitted_values(observations: np.ndarray, returns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fits a baseline to each task's returns and predicts these same returns, as the original does.

    Args:
        observations: [tasks, trajectories, horizon, obs_dim].
        returns: [tasks, trajectories, horizon] discounted.
        mask: [tasks, trajectories, horizon], 1 for steps that were taken.

    Returns:
        [tasks, trajectories, horizon] float64, 0 after the end of a trajectory.
    """
    predictions = np.zeros(returns.shape)
    # Task by task, because the features of a whole batch of ants take 600 MB.
    for prediction, *task in zip(predictions, observations, returns, mask, strict=True):
        of_task, targets, taken = task
        rows = features(of_task)[taken > 0]
        prediction[taken > 0] = rows @ fit(rows, targets[taken > 0])
    return predictions


def discounted_sums(values: np.ndarray, discount: float) -> np.ndarray:
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


def generalised_advantages(
    rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, discount: float, gae_lambda: float
) -> np.ndarray:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16), centred per task.

    As in the original, the value after the last step of a trajectory is 0, even where the time limit ended it.

    Args:
        rewards: [..., trajectories, horizon], 0 after the end of a trajectory.
        values: [..., trajectories, horizon], the baseline's predictions.
        mask: [..., trajectories, horizon], 1 for steps that were taken.
        discount: gamma.
        gae_lambda: lambda; 1 gives discounted return minus value.

    Returns:
        [..., trajectories, horizon] float64: mean 0 and standard deviation 1 over a task's steps taken; 0 elsewhere.
    """
    values = values * mask
    next_values = np.concatenate([values[..., 1:], np.zeros_like(values[..., :1])], axis=-1)
    errors = (rewards + discount * next_values - values) * mask
    return centred(discounted_sums(errors, discount * gae_lambda), mask)


def centred(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(values - mean) / (std + 1e-8) over the steps taken of each task (the last two axes); 0 elsewhere."""
    axes = (-2, -1)
    count = mask.sum(axes, keepdims=True, dtype=np.float64)
    mean = (values * mask).sum(axes, keepdims=True) / count
    deviations = (values - mean) * mask
    return deviations / (np.sqrt((deviations**2).sum(axes, keepdims=True) / count) + 1e-8)


def explained_variance(predictions: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> float:
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


class Samples(NamedTuple):
    """Steps of a batch of tasks or, without the task axis, of one task; a task's trajectories follow one another.

    observations: [tasks, samples, obs_dim].
    actions: [tasks, samples, act_dim], not clipped.
    advantages: [tasks, samples], centred; 0 where the mask is 0.
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


def estimate(
    trajectories: Trajectories,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
    dtype: type = np.float32,
    gathered: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = dict,
) -> tuple[Samples, float]:
    """Fits the baseline to every task, estimates advantages and flattens the trajectories.

    Args:
        trajectories: Trajectories.
        discount: gamma.
        gae_lambda: lambda of the advantages.
        dtype: dtype of the tensors.
        gathered: function from arrays of these tasks to arrays of all workers' tasks; by default, there is only one
            worker.

    Returns:
        (Samples of these tasks, explained variance of the returns by the baseline over all tasks).
    """
    mask = trajectories.mask
    rewards = trajectories.rewards * mask
    returns = discounted_sums(rewards, discount)
    values = fitted_values(trajectories.observations, returns, mask)
    advantages = generalised_advantages(rewards, values, mask, discount, gae_lambda)

    def flat(array):
        return tf.constant(array.reshape(len(mask), -1, *array.shape[3:]), dtype)

    samples = Samples(
        flat(trajectories.observations),
        flat(trajectories.actions),
        flat(advantages),
        flat(mask),
        flat(trajectories.means),
        tf.constant(trajectories.log_stds, dtype),
    )
    of_all = gathered({"predictions": values, "targets": returns, "mask": mask})
    return samples, explained_variance(**of_all)
