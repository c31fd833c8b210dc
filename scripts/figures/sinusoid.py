"""Draws the pictures of the paper's section 5.1.

Fits: the curves that MAML and the pretrained baseline fit to a few tasks (figure 2 of the paper). Errors: the errors by
shots and number of updates (figure 3). Sensitivity: what "sensitive to the task" means (section 2.2), shown by the loss
along its gradient. One step of the right size from MAML's weights lowers any task's loss by much; the same step from
pretrained or random weights hardly lowers it.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.sinusoid import INPUT, Sinusoid
from data_generators.tasks import Tasks
from maml_tf import checks
from maml_tf.runs import style
from maml_tf.runs.statistics import mean_ci95
from maml_tf.runs.style import Picture
from maml_tf.supervised import build
from scripts.figures.sinusoid_learners import DIVERGED, MAML, ORACLE, ORIGINAL, SHOTS, TUNED, UPDATES, error_rows

TASKS = 3, 4  # indices of the first test tasks with a large amplitude and points on both sides
HALF_TASK = 8  # index of the test task whose inputs are made positive here
FIT_SHOTS = 5, 10
FIT_UPDATES = 0, 1, 10
GRID = np.linspace(*INPUT, 101)

_FIT_STYLES = {
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

_MAML_STYLE = {"color": style.BLUE, "linestyle": "-", "marker": "o", "label": "MAML"}
_PRETRAINED_STYLE = {"color": style.ORANGE, "linestyle": "--", "marker": "s", "label": "pretrained, step size tuned"}

SENSITIVITY_SHOTS = 10
POINTS = 41
QUERY_LOSS, SUPPORT_LOSS = "query loss", "support loss"
NORM = "gradient norm"
_STYLES = {
    "MAML": (style.BLUE, "-", "o", ""),
    "pretrained": (style.ORANGE, "--", "s", "///"),
    "random": (style.GREY, ":", "^", "..."),
}


class _Task(NamedTuple):
    """A sinusoid with its support inputs x, [10]; K = 5 takes the first five."""

    name: str
    amplitude: float
    phase: float
    x: np.ndarray

    def y(self, x):
        """Returns the values of the sinusoid."""
        return self.amplitude * np.sin(x - self.phase)


def fit_rows(learners) -> list[dict]:
    """Makes the rows of the curves and points, one for each x.

    The columns are task, shots, what ("true sine", "support" or "fit"), learner, step_size, updates, x and y.

    Args:
        learners: Learners; MAML's first seed is shown, and the pretrained baseline with its tuned step size.
    """
    maml, pretrained = next(iter(learners.maml.values())), learners.pretrained
    rows = []
    for shots in FIT_SHOTS:
        fitted = ("MAML", maml, maml.experiment.update_lr), ("pretrained", pretrained, pretrained.tune(shots)[0])
        for task in _tasks():
            x = task.x[:shots]
            same = {"task": task.name, "shots": shots}
            rows += _points(same, "true sine", GRID, task.y(GRID)) + _points(same, "support", x, task.y(x))
            for name, learner, step_size in fitted:
                for updates in FIT_UPDATES:
                    y = _fit(learner.maml, x, task.y(x), updates, step_size)
                    rows += _points(same, "fit", GRID, y, name, step_size, updates)
    return rows


def draw_fits(figure, rows: list[dict]) -> None:
    """Draws a row of panels for each task, with MAML beside pretrained for each number of shots."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = [(shots, learner) for shots in FIT_SHOTS for learner in ("MAML", "pretrained")]
    axes = figure.subplots(len(tasks), len(columns), sharex=True, sharey=True, squeeze=False)
    for line, task in enumerate(tasks):
        for column, (shots, learner) in enumerate(columns):
            panel, of_task = axes[line, column], [r for r in rows if r["task"] == task and r["shots"] == shots]
            fits = [row for row in of_task if row["learner"] == learner]
            _draw_fit(panel, of_task, fits)
            if line == 0:
                panel.set_title(f"{learner}, $K = {shots}$\nstep size {fits[0]['step_size']:g}")
            if column == 0:
                panel.set_ylabel("\n".join([*task.split(", "), "$y$"]))
    axes[0, 0].set(ylim=(-4.6, 4.6), yticks=[-4, 0, 4], xticks=[-5, 0, 5])
    for panel in axes[-1]:
        panel.set_xlabel("$x$")
    style.legend_below(figure, axes[0, 0])


def _draw_fit(panel, of_task, fits):
    panel.plot(*_columns(of_task, "x", "y", what="true sine"), **_TRUE_SINE)
    panel.plot(*_columns(of_task, "x", "y", what="support"), **_SUPPORT)
    for updates, line in _FIT_STYLES.items():
        panel.plot(*_columns(fits, "x", "y", updates=updates), linewidth=1.3, **line)


def _tasks():
    test = Sinusoid(max(FIT_SHOTS), oracle=True).test_tasks(HALF_TASK + 1)
    # The oracle's inputs are (x, amplitude, phase).
    drawn = [(task, *test.support_x[task, 0, 1:], test.support_x[task, :, 0]) for task in (*TASKS, HALF_TASK)]
    names = "task 1", "task 2", "task 3, points on one side"
    return [
        _Task(name, float(amplitude), float(phase), np.abs(x) if task == HALF_TASK else x)
        for name, (task, amplitude, phase, x) in zip(names, drawn, strict=True)
    ]


def _fit(maml, x, y, updates, step_size):
    """Returns [grid], the predictions after a number of updates on the points (x, y)."""
    adapted = maml.adapt(x[:, None], y[:, None], updates, step_size) if updates else None
    return maml.predict(GRID[:, None], adapted, transductive=True).numpy()[:, 0]


def _points(same, what, x, y, learner=None, step_size=None, updates=None):
    same = same | {"what": what, "learner": learner, "step_size": step_size, "updates": updates}
    return [same | {"x": float(a), "y": float(b)} for a, b in zip(x, y, strict=True)]


def draw_errors(figure, rows: list[dict]) -> None:
    """Draws a panel per number of shots: MAML (seeds and their mean), pretrained (step size tuned), and the oracle."""
    panels = figure.subplots(1, len(SHOTS), sharex=True, sharey=True)
    for panel, shots in zip(panels, SHOTS, strict=True):
        _draw_errors(panel, rows, shots)
        panel.set(title=f"$K = {shots}$", xlabel="number of updates")
    panels[0].set(yscale="log", ylim=(1e-3, 10), xticks=range(0, UPDATES + 1, 2))
    panels[0].set_ylabel(f"mean squared error\n(at most {DIVERGED:.0f} per task)")
    style.legend_below(figure, panels[SHOTS.index(10)])


def _draw_errors(panel, rows, shots):
    """Draws MAML's seeds as thin lines, and the oracle as a flat line, since it learns nothing from the points."""
    _, mse, ci95 = _curve(rows, shots=shots, learner=ORACLE, updates=0)
    panel.axhspan((mse - ci95)[0], (mse + ci95)[0], color=style.GREY, alpha=0.4, linewidth=0)
    *seeds, shown = _seeds_of(rows)
    _draw_curve(panel, _curve(rows, "capped_mse", shots=shots, learner=MAML, seed=shown), _MAML_STYLE)
    for seed in seeds:
        updates, errors, _ = _curve(rows, "capped_mse", shots=shots, learner=MAML, seed=seed)
        label = "MAML, each seed" if seed == seeds[0] else None
        panel.plot(updates, errors, color=style.BLUE, linewidth=0.6, label=label)
    _draw_curve(panel, _curve(rows, "capped_mse", shots=shots, learner=TUNED), _PRETRAINED_STYLE)
    panel.axhline(mse[0], color=style.BLACK, linestyle="-.", linewidth=1.2, label="oracle")
    updates, errors, _ = _curve(rows, shots=shots, learner=ORIGINAL["maml"])
    if len(updates):
        panel.plot(updates, errors, "x", color=style.BLACK, label="MAML, authors' code", zorder=3)


def _draw_curve(panel, values, line):
    updates, mse, ci95 = values
    panel.fill_between(updates, mse - ci95, mse + ci95, color=line["color"], alpha=0.25, linewidth=0)
    panel.plot(updates, mse, markerfacecolor="white", **line)


def _curve(rows, statistic="mse", **keys):
    """Returns a learner's errors on the query of test tasks, [updates] each: updates, the statistic, its ci95.

    Args:
        rows: rows of `error_rows`.
        statistic: "mse" or "capped_mse".
        **keys: entries by which rows are selected.
    """
    names = "updates", statistic, statistic.replace("mse", "ci95")
    return _columns(rows, *names, points="query", split="test", **keys)


def _seeds_of(rows):
    """Returns the seeds of the MAML runs; if there are several, MEAN is the last."""
    return list(dict.fromkeys(row["seed"] for row in rows if row["learner"] == MAML))


def sensitivity_rows(learners) -> list[dict]:
    """Computes each learner's losses after a step of each size, their decrease, and the gradient's norm.

    Args:
        learners: Learners; MAML is its first seed, and "random" is its network before any training.

    Returns:
        Rows of learner, quantity ("support loss", "query loss", "decrease of support loss", "decrease of query loss",
        "gradient norm"), step_size, mean over the 600 test tasks, ci95.
    """
    maml, pretrained = next(iter(learners.maml.values())), learners.pretrained
    untrained = build.build(maml.experiment, build.load(maml.experiment, None).source, jit=False)
    tasks = Tasks(*(tf.constant(values) for values in maml.tasks(SENSITIVITY_SHOTS)))
    on_support = tasks._replace(query_x=tasks.support_x, query_y=tasks.support_y)
    sizes, usual = np.linspace(0, 2 * maml.experiment.update_lr, POINTS), POINTS // 2
    rows = []
    for name, of in (("MAML", maml.maml), ("pretrained", pretrained.maml), ("random", untrained)):
        for quantity, judged in ((SUPPORT_LOSS, on_support), (QUERY_LOSS, tasks)):
            losses = losses_along_gradient(of, judged, sizes)
            rows += [_row(name, quantity, size, loss) for size, loss in zip(sizes, losses, strict=True)]
            rows.append(_row(name, f"decrease of {quantity}", sizes[usual], losses[0] - losses[usual]))
        rows.append(_row(name, NORM, None, gradient_norms(of, tasks)))
    return rows


def losses_along_gradient(maml, tasks, step_sizes):
    """Returns [sizes, tasks], the losses on the query after one update of each size along the same gradient."""
    specs = checks.specs(tasks), tf.TensorSpec([], maml.dtype)
    curves = functools.partial(maml.curves.graph, num_updates=1)
    graph = functools.partial(maml.compiler.call_as, specs, "along the gradient", curves, tasks)
    return np.array([graph(tf.constant(size, maml.dtype))["losses"][:, 1] for size in step_sizes])


def gradient_norms(maml, tasks):
    """Returns [tasks], the Euclidean norms of the gradient of the loss on the support, before any update."""

    def of_task(task):
        start = maml.start()
        with tf.GradientTape() as tape:
            tape.watch(start.params)
            loss = maml.learner.evaluate(start, *task[:2], "support")[0]["support_loss"]
        return tf.sqrt(tf.add_n([tf.reduce_sum(g**2) for g in tape.gradient(loss, start.params)]))

    return maml.compiler(lambda tasks: tf.vectorized_map(of_task, tasks))(tasks).numpy()


def draw_sensitivity(figure, rows: list[dict]) -> None:
    """Draws the loss along the gradient, its decrease by a step of the usual size, and the gradient's norm."""
    along, decrease, norm = figure.subplots(1, 3, width_ratios=(1.8, 1, 1))
    for name, (color, line, marker, _) in _STYLES.items():
        size, mean, ci95 = _columns(rows, "step_size", "mean", "ci95", learner=name, quantity=QUERY_LOSS)
        along.fill_between(size, mean - ci95, mean + ci95, color=color, alpha=0.25, linewidth=0)
        look = {"color": color, "linestyle": line, "marker": marker, "markerfacecolor": "white", "markevery": 5}
        along.plot(size, mean, label=name, **look)
    usual = size[len(size) // 2]
    along.axvline(usual, color="0.6", linewidth=0.7, zorder=0)
    along.set(
        xlabel=r"$s$", ylabel="loss on the query", title=r"loss at $\theta - s\,\nabla L(\theta)$", ylim=(0, None)
    )
    along.set_xticks([0, usual / 2, usual, usual * 1.5, usual * 2])
    _bars(decrease, rows, f"decrease of {QUERY_LOSS}")
    _bars(norm, rows, NORM)
    decrease.set_title(f"decrease at $s = {usual:g}$")
    norm.set_title(r"norm of $\nabla L(\theta)$")
    style.legend_below(figure, along)


def _bars(panel, rows, quantity):
    panel.margins(y=0.12)  # leaves room for the numbers
    for position, (name, (color, _, _, hatch)) in enumerate(_STYLES.items()):
        mean, ci95 = _columns(rows, "mean", "ci95", learner=name, quantity=quantity)
        look = {"color": color, "alpha": 0.6, "hatch": hatch, "edgecolor": "black", "linewidth": 0.7, "capsize": 3}
        panel.bar(position, mean, 0.7, yerr=ci95, **look)
        above = (0, 4)  # in points
        text = f"{mean[0]:#.2g}".removesuffix(".")
        panel.annotate(text, (position, (mean + ci95)[0]), above, textcoords="offset points", ha="center")
    panel.set_xticks(range(len(_STYLES)), [name.replace("pretrained", "pre-\ntrained") for name in _STYLES])


def _row(learner, quantity, step_size, values):
    mean, ci95 = mean_ci95(np.asarray(values, np.float64))
    return {"learner": learner, "quantity": quantity, "step_size": step_size, "mean": mean, "ci95": ci95}


def _columns(rows, *names, **keys):
    """Returns an array for each name, from the rows that have the entries `keys`."""
    found = [row for row in rows if all(row[name] == value for name, value in keys.items())]
    return tuple(np.array([row[name] for row in found], float) for name in names)


PICTURES = {
    "fits": Picture((7.6, 5.4), fit_rows, draw_fits),
    "errors": Picture((7.6, 3.0), error_rows, draw_errors),
    "sensitivity": Picture((7.6, 2.9), sensitivity_rows, draw_sensitivity),
}
