"""Picture of trajectories in 2D navigation before and after adaptation, for a few goals (figure 4 of the paper)."""

import numpy as np

from scripts.figures import style

SIZE = 7.6, 2.9
TASKS = 3  # the first of the test goals
TRAJECTORIES = 5  # shown of each batch

_COLOURS = (style.GREY, style.ORANGE, style.BLUE)


def numbers(adaptation, goals: np.ndarray) -> list[dict]:
    """Rows of task, goal_x, goal_y, updates, path (its trajectory), step, x, y: before, after one and the last update.

    Args:
        adaptation: evaluation.Adaptation in 2D navigation.
        goals: [goals, 2].
    """
    rows = []
    for updates in _shown(len(adaptation.trajectories)):
        batch = adaptation.trajectories[updates]
        for task in range(min(TASKS, len(goals))):
            for path in range(min(TRAJECTORIES, batch.mask.shape[1])):
                same = {"task": task, "goal_x": float(goals[task][0]), "goal_y": float(goals[task][1])}
                same |= {"updates": updates, "path": path}
                positions = batch.observations[task, path][batch.mask[task, path] > 0]
                rows += [same | {"step": step, "x": float(p[0]), "y": float(p[1])} for step, p in enumerate(positions)]
    return rows


def draw(figure, rows: list[dict]) -> None:
    """A panel per goal."""
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
