"""Means and medians of a metric over tasks, confidence intervals, and the detection of diverged tasks."""

import numpy as np


def mean_ci95(values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Computes means and the half widths of their 95 % confidence intervals, 1.96 * std / sqrt(n).

    NaN and infinity propagate without a warning. The standard deviation is that of the n values, with ddof 0, as in the
    test of the original code.

    Args:
        values: array.
        axis: the axis of the n values.

    Returns:
        (mean, ci95), arrays without that axis.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return values.mean(axis), 1.96 * values.std(axis) / np.sqrt(values.shape[axis])


# Gradient descent at a fixed step size is only just stable after meta-training: on a task unlike the training tasks,
# the loss may grow by a factor with every update, and one such task dominates the mean over hundreds of tasks.
# A single task at this bound raises the mean of 600 tasks by more than the median loss before any update.
TIMES_MEDIAN = 1000


def diverged(losses: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Marks the losses of diverged tasks: those not finite, or above 1000 times the median loss before any update.

    Args:
        losses: array of any shape.
        before: [tasks], the losses before any update.

    Returns:
        Array of bool, of the same shape as `losses`.
    """
    finite = before[np.isfinite(before)]
    usual = float(np.median(finite)) if len(finite) else 0.0
    bound = TIMES_MEDIAN * usual if usual > 0 else np.inf
    return ~np.isfinite(losses) | (np.nan_to_num(losses, nan=np.inf) > bound)


def median(values: np.ndarray) -> np.ndarray:
    """The median over the first axis; NaN counts as infinity."""
    return np.median(np.where(np.isnan(values), np.inf, values), axis=0)


def mean_and_ci95(values: np.ndarray, left_out: np.ndarray) -> tuple[float, float]:
    """Mean over the tasks not left out, and half width of its 95 % confidence interval; NaN if no task remains.

    Args:
        values: [tasks].
        left_out: [tasks] of bool.
    """
    kept = np.asarray(values, np.float64)[~left_out]
    if not len(kept):
        return np.nan, np.nan
    mean, ci95 = mean_ci95(kept)
    return float(mean), float(ci95)
