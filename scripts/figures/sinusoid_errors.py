"""Error of the learners of the paper's section 5.1 by shots and number of updates, and its picture (figure 3)."""

import numpy as np

from maml_tf.runs import published
from scripts.figures import style

SIZE = 7.6, 3.0
SHOTS = (5, 10, 20)
UPDATES = 10

MAML, PRETRAINED, TUNED, ORACLE = "MAML", "pretrained", "pretrained, tuned", "oracle"
ORIGINAL = {"maml": "original MAML", "pretrained": "original pretrained", "oracle": "original oracle"}
MEAN = "mean"  # in place of a seed: the mean over seeds

# An error above the square of the largest amplitude is a task whose updates diverge: gradient descent at the paper's
# step size is only just stable after meta-training, and with few points it may not be. A few such tasks of 600 dominate
# every mean.
DIVERGED = 5.0**2


def numbers(learners) -> list[dict]:
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
        rows: of `numbers`.
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


_MAML_STYLE = {"color": style.BLUE, "linestyle": "-", "marker": "o", "label": "MAML"}
_PRETRAINED_STYLE = {"color": style.ORANGE, "linestyle": "--", "marker": "s", "label": "pretrained, step size tuned"}


def draw(figure, rows: list[dict]) -> None:
    """One panel for each number of shots: MAML, its mean over seeds; pretrained, tuned; and the oracle, flat."""
    panels = figure.subplots(1, len(SHOTS), sharex=True, sharey=True)
    for panel, shots in zip(panels, SHOTS, strict=True):
        _draw_panel(panel, rows, shots)
        panel.set(title=f"$K = {shots}$", xlabel="number of updates")
    panels[0].set(yscale="log", ylim=(1e-3, 10), xticks=range(0, UPDATES + 1, 2))
    panels[0].set_ylabel(f"mean squared error\n(at most {DIVERGED:.0f} per task)")
    style.legend_below(figure, panels[SHOTS.index(10)])


def _draw_panel(panel, rows, shots):
    """MAML's seeds as thin lines; the oracle only before any update, since it has nothing to learn from the points."""
    _, mse, ci95 = curve(rows, shots=shots, learner=ORACLE, updates=0)
    panel.axhspan((mse - ci95)[0], (mse + ci95)[0], color=style.GREY, alpha=0.4, linewidth=0)
    *seeds, shown = seeds_of(rows)
    _draw_curve(panel, curve(rows, "capped_mse", shots=shots, learner=MAML, seed=shown), _MAML_STYLE)
    for seed in seeds:
        updates, errors, _ = curve(rows, "capped_mse", shots=shots, learner=MAML, seed=seed)
        label = "MAML, each seed" if seed == seeds[0] else None
        panel.plot(updates, errors, color=style.BLUE, linewidth=0.6, label=label)
    _draw_curve(panel, curve(rows, "capped_mse", shots=shots, learner=TUNED), _PRETRAINED_STYLE)
    panel.axhline(mse[0], color=style.BLACK, linestyle="-.", linewidth=1.2, label="oracle")
    updates, errors, _ = curve(rows, shots=shots, learner=ORIGINAL["maml"])
    if len(updates):
        panel.plot(updates, errors, "x", color=style.BLACK, label="MAML, authors' code", zorder=3)


def _draw_curve(panel, values, line):
    updates, mse, ci95 = values
    panel.fill_between(updates, mse - ci95, mse + ci95, color=line["color"], alpha=0.25, linewidth=0)
    panel.plot(updates, mse, markerfacecolor="white", **line)
