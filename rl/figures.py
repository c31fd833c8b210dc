"""Draws the pictures of reinforcement learning.

They show the returns of each policy on the published test goals after every update (also as a table); the returns
during meta-training, beside those of the original code; and trajectories in 2D navigation before and after adaptation,
for a few goals (figure 4 of the paper).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_generators.errors import UserError
from maml_tf.runs import log, published, style
from maml_tf.runs.style import Picture, aligned
from rl.build import run_folder, train_command
from rl.envs import find
from rl.evaluation import Adaptation
from rl.experiment import RLExperiment
from rl.training import COLUMNS, PROGRESS

_POLICY_STYLES = {
    "maml": {"color": style.BLUE, "marker": "o", "linestyle": "-", "label": "MAML (ours)"},
    "pretrained": {"color": style.ORANGE, "marker": "s", "linestyle": "--", "label": "pretrained"},
    "random": {"color": style.GREY, "marker": "^", "linestyle": "-.", "label": "random"},
    "oracle": {"color": style.BLACK, "marker": "", "linestyle": ":", "label": "oracle"},
}

_LEARNING_STYLES: dict[tuple[str, str], dict[str, Any]] = {
    ("before", "ours"): {"color": style.GREY, "linestyle": "-", "linewidth": 0.9, "label": "before the update"},
    ("after", "ours"): {"color": style.BLUE, "linestyle": "-", "linewidth": 0.9, "label": "after"},
    ("before", "original"): {"color": style.BLACK, "linestyle": ":", "label": "original, before"},
    ("after", "original"): {"color": style.ORANGE, "linestyle": "--", "label": "original, after"},
}

_SHOWN_TASKS = 3  # the first of the test goals
_SHOWN_TRAJECTORIES = 5  # of each task, before and after updates

_COLOURS = (style.GREY, style.ORANGE, style.BLUE)


def return_rows(adaptations: Mapping, update: str, env: str) -> list[dict]:
    """Makes rows of policy, update, updates, mean, ci95, published_mean and published_ci95.

    The last two are None if there is no published number, or the update is TRPO's.

    Args:
        adaptations: evaluation.Adaptation by policy.
        update: kind of the updates, "vpg" or "trpo".
        env: name of the environment.
    """
    name, rows = find(env).published, []
    curves = published.published_returns(name) if name and update == "vpg" else {}
    for policy, adaptation in adaptations.items():
        theirs = [*zip(*curves[policy], strict=True)] if policy in curves else []
        for updates, (mean, ci95) in enumerate(zip(adaptation.mean, adaptation.ci95, strict=True)):
            row = {"policy": policy, "update": update, "updates": updates, "mean": float(mean), "ci95": float(ci95)}
            mean, ci95 = theirs[updates] if updates < len(theirs) else (None, None)
            rows.append(row | {"published_mean": mean, "published_ci95": ci95})
    return rows


def return_table(rows: list[dict]) -> list[str]:
    """Makes the lines of a table of our returns and the published ones, side by side."""
    cells = [("policy", "updates", "return", "published")]
    for row in rows:
        ours = f"{row['mean']:.1f} +- {row['ci95']:.1f}"
        theirs = "" if row["published_mean"] is None else f"{row['published_mean']:.1f} +- {row['published_ci95']:.1f}"
        cells.append((row["policy"], str(row["updates"]), ours, theirs))
    return aligned(cells)


def draw_returns(figure: Any, rows: list[dict]) -> None:
    """Draws returns against gradient steps, with 95 % confidence bands; the published MAML is a thin line."""
    panel = figure.subplots()
    last = max(row["updates"] for row in rows)
    for policy, line in _POLICY_STYLES.items():
        of_policy = [row for row in rows if row["policy"] == policy]
        if not of_policy:
            continue
        if policy == "oracle":
            panel.axhline(of_policy[0]["mean"], **line)
            continue
        updates, mean, ci95 = ([row[name] for row in of_policy] for name in ("updates", "mean", "ci95"))
        panel.plot(updates, mean, **line)
        low, high = ([m + sign * c for m, c in zip(mean, ci95, strict=True)] for sign in (-1, 1))
        panel.fill_between(updates, low, high, color=line["color"], alpha=0.2, linewidth=0)
    known = [row for row in rows if row["policy"] == "maml" and row["published_mean"] is not None]
    if known:
        points = zip(*((row["updates"], row["published_mean"]) for row in known), strict=True)
        panel.plot(*points, color=style.BLUE, linewidth=0.8, linestyle=":", marker="x", label="MAML (published)")
    panel.set_xticks(range(last + 1))
    panel.set_xlabel("number of gradient steps")
    panel.set_ylabel("return")
    style.legend_below(figure, panel)


def learning_rows(experiments: Sequence[RLExperiment], logdir: str | None) -> list[dict]:
    """Makes rows of whose, seed, iteration, before and after, from the progress.csv of trained runs.

    Rows of the original code are added where they are known.

    Args:
        experiments: RLExperiments of the runs, which differ in their seeds.
        logdir: folder of the runs; None is the default.

    Raises:
        UserError: a run is missing, or its file cannot be read.
    """
    rows = []
    for experiment in experiments:
        returns = _returns_of_run(experiment, logdir)
        rows += [_row("ours", experiment.seed, int(i), float(before), float(after)) for i, before, after in returns]
    curve = published.original_learning_curve(find(experiments[0].env).published)
    if curve and experiments[0].is_maml:
        rows += [_row("original", 1, i, *returns) for i, returns in enumerate(zip(*curve, strict=True))]
    return rows


def draw_learning(figure: Any, rows: list[dict]) -> None:
    """Draws returns against iterations, with a thin line for each seed."""
    panel = figure.subplots()
    for (moment, whose), line in _LEARNING_STYLES.items():
        seeds = sorted({row["seed"] for row in rows if row["whose"] == whose})
        for number, seed in enumerate(seeds):
            points = [(r["iteration"], r[moment]) for r in rows if (r["whose"], r["seed"]) == (whose, seed)]
            panel.plot(*zip(*points, strict=True), **(line | ({"label": None} if number else {})))
    panel.set_xlabel("iteration")
    panel.set_ylabel("mean return")
    style.legend_below(figure, panel)


def _returns_of_run(experiment, logdir):
    """Reads iteration, return before and return after, as text, from the readable rows of progress.csv."""
    path = run_folder(experiment, logdir) / PROGRESS
    reason = "it has no rows of them"
    try:
        found = log.read(path, (log.ITERATION, *COLUMNS))
        returns = [[row[name] for name in (log.ITERATION, "return_before", "return_after")] for row in found.rows]
        returns = [row for row in returns if all(row)]
    except OSError as error:
        returns, reason = [], error.strerror or error
    if not returns:
        command = train_command(experiment, logdir)
        raise UserError(f"the returns in {path} cannot be read ({reason}): train by `{command}`")
    if found.damaged or found.half:
        print(f"{path} is damaged: only the rows that can be read are drawn")
    return returns


def _row(whose, seed, iteration, before, after):
    return {"whose": whose, "seed": seed, "iteration": iteration, "before": before, "after": after}


def trajectory_rows(adaptation: Adaptation, goals: np.ndarray) -> list[dict]:
    """Makes rows of task, goal_x, goal_y, updates, path (index of the trajectory), step, x, y.

    The trajectories are those before any update, after the first and after the last.

    Args:
        adaptation: evaluation.Adaptation in 2D navigation.
        goals: [goals, 2].
    """
    rows = []
    for updates in _shown(len(adaptation.trajectories)):
        batch = adaptation.trajectories[updates]
        for task in range(min(_SHOWN_TASKS, len(goals))):
            for path in range(min(_SHOWN_TRAJECTORIES, batch.mask.shape[1])):
                same = {"task": task, "goal_x": float(goals[task][0]), "goal_y": float(goals[task][1])}
                same |= {"updates": updates, "path": path}
                positions = batch.observations[task, path][batch.mask[task, path] > 0]
                rows += [same | {"step": step, "x": float(p[0]), "y": float(p[1])} for step, p in enumerate(positions)]
    return rows


def draw_trajectories(figure: Any, rows: list[dict]) -> None:
    """Draws one panel per goal."""
    tasks = sorted({row["task"] for row in rows})
    shown = sorted({row["updates"] for row in rows})
    panels = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
    for task, panel in zip(tasks, panels, strict=True):
        of_task = [row for row in rows if row["task"] == task]
        for updates, colour in zip(shown, _COLOURS[-len(shown) :], strict=True):
            label = f"after {updates} update{'' if updates == 1 else 's'}" if updates else "before any update"
            for path in sorted({row["path"] for row in of_task}):
                line = [row for row in of_task if row["updates"] == updates and row["path"] == path]
                x, y = [row["x"] for row in line], [row["y"] for row in line]
                panel.plot(x, y, color=colour, linewidth=0.8, label=None if path else label)
        goal = of_task[0]
        panel.plot(goal["goal_x"], goal["goal_y"], "*", color=style.BLACK, markersize=9, label="goal", zorder=3)
        panel.set_aspect("equal")
        panel.set_xlabel("x")
    panels[0].set_ylabel("y")
    style.legend_below(figure, panels[0])


def _shown(batches):
    return sorted({0, 1, batches - 1} & set(range(batches)))


RETURNS = Picture((6.4, 3.4), return_rows, draw_returns)
LEARNING = Picture((6.2, 3.2), learning_rows, draw_learning)
TRAJECTORIES = Picture((7.6, 2.9), trajectory_rows, draw_trajectories)
