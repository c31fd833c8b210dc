"""Which tasks of an evaluation diverge, so that a mean over all of them says nothing, and what to say in its place.

Gradient descent at a fixed step size is only just stable after meta-training; on a task that is unlike those of
training, or with fewer examples, the inner updates may diverge. The loss then grows by a factor with every update, to
infinity and NaN, and one such task swamps the mean of hundreds.
"""

import numpy as np

# A task at this bound alone moves the mean of 600 tasks by more than the loss that they had before any update.
TIMES_MEDIAN = 1000


def diverged(losses, before):
    """Where losses are of tasks that have diverged: not finite, or above 1000 times the median before any update.

    Args:
        losses: array of any shape.
        before: [tasks], the losses before any update.

    Returns:
        Array of bool.
    """
    finite = before[np.isfinite(before)]
    usual = float(np.median(finite)) if len(finite) else 0.0
    bound = TIMES_MEDIAN * usual if usual > 0 else np.inf
    return ~np.isfinite(losses) | (np.nan_to_num(losses, nan=np.inf) > bound)


def median(values):
    """The median over the first axis; NaN counts as infinity."""
    return np.median(np.where(np.isnan(values), np.inf, values), axis=0)


def mean_and_ci95(values, left_out):
    """Mean and half width of its 95 % confidence interval over tasks without some; NaN where none remain.

    Args:
        values: [tasks].
        left_out: [tasks] of bool.
    """
    kept = np.asarray(values, np.float64)[~left_out]
    if not len(kept):
        return np.nan, np.nan
    return float(kept.mean()), float(1.96 * kept.std() / np.sqrt(len(kept)))


def sentence(evaluation, show) -> str:
    """How many tasks have diverged and what the others give, or "" where none have.

    It is about the last update after which there are such tasks.

    Args:
        evaluation: evaluation.Evaluation.
        show: function that makes a text of one of its numbers.
    """
    counts = evaluation.diverged
    if not counts.any():
        return ""
    update = int(np.flatnonzero(counts)[-1])
    after = f"after {update} update{'' if update == 1 else 's'}" if update else "before any update"
    text = f"{counts[update]} of {evaluation.num_tasks} tasks diverged {after}"
    if counts[update] < evaluation.num_tasks:
        mean, ci95 = evaluation.without_diverged(update)
        text += f"; without them the mean is {show(mean)} +- {show(ci95)}"
    middle = evaluation.median[update]
    return text + (f"; the median of all is {show(middle)}" if np.isfinite(middle) else "")
