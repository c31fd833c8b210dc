"""The linear feature baseline: state values by ridge regression (Duan et al. 2016; rllab's `LinearFeatureBaseline`)."""

import numpy as np

RIDGE = 1e-5
_ATTEMPTS = 5  # each with ten times the ridge, while the solution is not a number


def features(observations):
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


def fit(rows, targets):
    """Coefficients w that minimise |rows w - targets|^2 + RIDGE |w|^2.

    Args:
        rows: [samples, features] float64.
        targets: [samples].

    Returns:
        [features] float64; with NaN if every attempt gave such.
    """
    gram, moment = rows.T @ rows, rows.T @ targets
    ridge = RIDGE
    for _ in range(_ATTEMPTS):
        # By least squares as in the original: features that never change leave gram all but singular.
        coefficients = np.linalg.lstsq(gram + ridge * np.identity(len(gram)), moment, rcond=-1)[0]
        if not np.isnan(coefficients).any():
            break
        ridge *= 10
    return coefficients


def values(observations, returns, mask):
    """Fits a baseline to each task's returns and predicts these same returns, as the original does.

    Args:
        observations: [tasks, paths, horizon, obs_dim].
        returns: [tasks, paths, horizon] discounted.
        mask: [tasks, paths, horizon], 1 for steps that were taken.

    Returns:
        [tasks, paths, horizon] float64, 0 after the end of a path.
    """
    predictions = np.zeros(returns.shape)
    # Task by task, because the features of a whole batch of ants take 600 MB.
    for prediction, *task in zip(predictions, observations, returns, mask, strict=True):
        of_task, targets, taken = task
        rows = features(of_task)[taken > 0]
        prediction[taken > 0] = rows @ fit(rows, targets[taken > 0])
    return predictions
