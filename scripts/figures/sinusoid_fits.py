"""Picture of the fitted curves: what MAML and the pretrained baseline make of a few tasks (figure 2 of the paper)."""

from typing import NamedTuple

import numpy as np

from data_generators.sinusoid import INPUT, Sinusoid
from scripts.figures import style

SIZE = 7.6, 5.4

TASKS = 3, 4  # of the test tasks, the first with a large amplitude and points on both sides
HALF_TASK = 8  # whose inputs are made positive here
SHOTS = 5, 10
UPDATES = 0, 1, 10
GRID = np.linspace(*INPUT, 101)

_STYLES = {
    0: {"color": style.GREY, "linestyle": ":", "label": "before any update"},
    1: {"color": style.ORANGE, "linestyle": "--", "label": "after 1 update"},
    10: {"color": style.BLUE, "linestyle": "-", "label": "after 10 updates"},
}
_TRUE_SINE = {"color": "0.8", "linewidth": 3.5, "solid_capstyle": "butt", "label": "true sine"}
_SUPPORT = {
    "linestyle": "",
    "marker": "^",
    "color": style.BLACK,
    "markersize": 5.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
    "zorder": 3,
    "label": "support points",
}


class Task(NamedTuple):
    """A sinusoid with its support inputs, [K]; the first five of ten are those of K = 5."""

    name: str
    amplitude: float
    phase: float
    x: np.ndarray

    def y(self, x):
        """The sinusoid itself."""
        return self.amplitude * np.sin(x - self.phase)


def numbers(learners) -> list[dict]:
    """The curves and points: for each of task, shots, learner, step_size, updates and what ("true sine", "support"
    or "fit") one row for each x, with y.

    Args:
        learners: Learners; MAML's first seed is shown, and the pretrained baseline with its tuned step size.
    """
    maml, pretrained = next(iter(learners.maml.values())), learners.pretrained
    rows = []
    for shots in SHOTS:
        fitted = ("MAML", maml, maml.experiment.update_lr), ("pretrained", pretrained, pretrained.tune(shots)[0])
        for task in _tasks():
            x = task.x[:shots]
            same = {"task": task.name, "shots": shots}
            rows += _points(same, "true sine", GRID, task.y(GRID)) + _points(same, "support", x, task.y(x))
            for name, learner, step_size in fitted:
                for updates in UPDATES:
                    y = _fit(learner.maml, x, task.y(x), updates, step_size)
                    rows += _points(same, "fit", GRID, y, name, step_size, updates)
    return rows


def draw(figure, rows: list[dict]) -> None:
    """One row of panels for each task, MAML beside pretrained for each number of shots."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = [(shots, learner) for shots in SHOTS for learner in ("MAML", "pretrained")]
    axes = figure.subplots(len(tasks), len(columns), sharex=True, sharey=True, squeeze=False)
    for line, task in enumerate(tasks):
        for column, (shots, learner) in enumerate(columns):
            panel, of_task = axes[line, column], [r for r in rows if r["task"] == task and r["shots"] == shots]
            fits = [row for row in of_task if row["learner"] == learner]
            _draw_panel(panel, of_task, fits)
            if line == 0:
                panel.set_title(f"{learner}, $K = {shots}$\nstep size {fits[0]['step_size']:g}")
            if column == 0:
                panel.set_ylabel("\n".join([*task.split(", "), "$y$"]))
    axes[0, 0].set(ylim=(-4.6, 4.6), yticks=[-4, 0, 4], xticks=[-5, 0, 5])
    for panel in axes[-1]:
        panel.set_xlabel("$x$")
    style.legend_below(figure, axes[0, 0])


def _draw_panel(panel, of_task, fits):
    panel.plot(*_xy(of_task, what="true sine"), **_TRUE_SINE)
    panel.plot(*_xy(of_task, what="support"), **_SUPPORT)
    for updates, line in _STYLES.items():
        panel.plot(*_xy(fits, updates=updates), linewidth=1.3, **line)


def _tasks():
    test = Sinusoid(max(SHOTS), oracle=True).test_tasks(HALF_TASK + 1)
    # The oracle's inputs are (x, amplitude, phase).
    drawn = [(task, *test.support_x[task, 0, 1:], test.support_x[task, :, 0]) for task in (*TASKS, HALF_TASK)]
    names = "task 1", "task 2", "task 3, points on one side"
    return [
        Task(name, float(amplitude), float(phase), np.abs(x) if task == HALF_TASK else x)
        for name, (task, amplitude, phase, x) in zip(names, drawn, strict=True)
    ]


def _fit(maml, x, y, updates, step_size):
    """[grid] predictions after a number of updates on the points (x, y)."""
    adapted = maml.adapt(x[:, None], y[:, None], updates, step_size) if updates else None
    return maml.predict(GRID[:, None], adapted, transductive=True).numpy()[:, 0]


def _points(same, what, x, y, learner=None, step_size=None, updates=None):
    same = same | {"what": what, "learner": learner, "step_size": step_size, "updates": updates}
    return [same | {"x": float(a), "y": float(b)} for a, b in zip(x, y, strict=True)]


def _xy(rows, **keys):
    found = [row for row in rows if all(row[name] == value for name, value in keys.items())]
    return [row["x"] for row in found], [row["y"] for row in found]
