"""The numbers of section 5.1: mean squared error by learner, shots and number of updates."""

import numpy as np

from data_generators.sinusoid import AMPLITUDE
from maml_tf import published
from scripts.sinusoid.runs import SHOTS

MAML, PRETRAINED, TUNED, ORACLE = "MAML", "pretrained", "pretrained, tuned", "oracle"
ORIGINAL = {"maml": "original MAML", "pretrained": "original pretrained", "oracle": "original oracle"}
MEAN = "mean"  # in place of a seed: the mean over seeds

# An error above this is a task whose updates diverge: gradient descent at the paper's step size is only just stable
# after meta-training, and with few points it may not be. A few such tasks of 600 swamp every mean.
DIVERGED = AMPLITUDE[1] ** 2


def error_rows(learners) -> list[dict]:
    """The errors of all learners, and those of the authors' code.

    Args:
        learners: Learners.

    Returns:
        A row for each of
            shots: K of the tasks; all learners were trained with K = 10.
            learner: MAML, PRETRAINED (with the step size of training), TUNED, ORACLE, or a value of ORIGINAL.
            step_size: of the updates.
            seed: of the run; MEAN for the mean over seeds of each task's error; none for the authors' code.
            split: "test", or "val" for the errors by which the step size was chosen.
            points: "query", or "support" for the error before any update that the authors' code reports.
            updates: their number.
        with what `statistics` says of 600 tasks.
    """
    rows = []
    for shots in SHOTS:
        by_seed = [learner.errors(shots) for learner in learners.maml.values()]
        for seed, found in zip(learners.maml, by_seed, strict=True):
            rows += _rows({"shots": shots, "learner": MAML, "step_size": 0.01, "seed": seed}, [found])
        if len(by_seed) > 1:
            rows += _rows({"shots": shots, "learner": MAML, "step_size": 0.01, "seed": MEAN}, by_seed)
        rows += _pretrained_rows(learners.pretrained, shots)
        same = {"shots": shots, "learner": ORACLE, "step_size": 0.01, "seed": 0}
        rows += _rows(same, [learners.oracle.errors(shots)])
    return rows + _original_rows()


def statistics(errors) -> dict[str, float]:
    """What to report of errors.

    Args:
        errors: [seeds, tasks].

    Returns:
        mse: mean over tasks of the mean over seeds; NaN and infinity spread.
        ci95: half width of its 95 % confidence interval over tasks, 1.96 * std / sqrt(tasks).
        capped_mse, capped_ci95: the same of errors of at most DIVERGED, as which NaN counts too.
        median: over tasks and seeds.
        diverged: how many of these are above DIVERGED or NaN.
    """
    capped = np.minimum(np.nan_to_num(errors, nan=np.inf), DIVERGED)
    mse, ci95 = _mean_and_ci95(errors)
    capped_mse, capped_ci95 = _mean_and_ci95(capped)
    same = {"mse": mse, "ci95": ci95, "capped_mse": capped_mse, "capped_ci95": capped_ci95}
    return same | {"median": np.median(capped), "diverged": int(np.sum(~(errors <= DIVERGED)))}


def curve(rows, statistic="mse", **keys) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A learner's errors on the query of test tasks.

    Args:
        rows: of `error_rows`.
        statistic: "mse" or "capped_mse".
        **keys: entries of the rows to take.

    Returns:
        ([updates] their numbers, [updates] the statistic, [updates] its ci95).
    """
    keys = {"points": "query", "split": "test"} | keys
    found = [row for row in rows if all(row[name] == value for name, value in keys.items())]
    names = "updates", statistic, statistic.replace("mse", "ci95")
    return tuple(np.array([row[name] for row in found], float) for name in names)


def seeds_of(rows) -> list:
    """The seeds of the MAML runs, and last MEAN where there are several."""
    return list(dict.fromkeys(row["seed"] for row in rows if row["learner"] == MAML))


def _pretrained_rows(learner, shots):
    best, validation = learner.tune(shots)
    same = {"shots": shots, "learner": PRETRAINED, "step_size": 0.01, "seed": 0}
    rows = _rows(same, [learner.errors(shots)])
    for step_size, found in validation.items():
        rows += _rows(same | {"step_size": step_size}, [found], split="val")
    tuned = same | {"learner": TUNED, "step_size": best}
    return rows + _rows(tuned, [learner.errors(shots, step_size=best)])


def _rows(same, by_seed, split="test"):
    """Rows of what `Learner.errors` gave for each seed."""
    support, query = (np.stack(values) for values in zip(*by_seed, strict=True))
    same = same | {"split": split}
    rows = [same | {"points": "support", "updates": 0} | statistics(support)]
    for update in range(query.shape[-1]):
        rows.append(same | {"points": "query", "updates": update} | statistics(query[..., update]))
    return rows


def _original_rows():
    rows = []
    unknown = dict.fromkeys(("capped_mse", "capped_ci95", "median", "diverged"))
    for key, figures in published.original_sinusoid().items():
        same = {"shots": 10, "learner": ORIGINAL[key], "step_size": 0.01, "seed": None, "split": "test"}
        for update, (mse, ci95) in enumerate(zip(*figures, strict=True)):
            points = "query" if update else "support"
            rows.append(same | {"points": points, "updates": update, "mse": mse, "ci95": ci95} | unknown)
    return rows


def _mean_and_ci95(errors):
    with np.errstate(invalid="ignore", over="ignore"):
        errors = errors.mean(0)
        return errors.mean(), 1.96 * errors.std() / np.sqrt(len(errors))
