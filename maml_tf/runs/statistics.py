"""The mean of a metric over tasks, and how sure it is."""

import numpy as np


def mean_ci95(values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Means, and half widths of their 95 % confidence intervals, 1.96 * std / sqrt(n); NaN and infinity spread quietly.

    The standard deviation is that of the n values, with ddof 0, as in the original's test.

    Args:
        values: array.
        axis: along which it has the values.

    Returns:
        (mean, ci95), arrays without that axis.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return values.mean(axis), 1.96 * values.std(axis) / np.sqrt(values.shape[axis])
