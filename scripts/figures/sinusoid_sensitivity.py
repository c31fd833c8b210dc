"""Picture of what "sensitive to the task" means (section 2.2 of the paper): the loss along its gradient at the weights.

A step of the right size from MAML's weights lowers any task's loss by much; from pretrained or random weights the same
step hardly does.
"""

import numpy as np
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf.supervised import build
from scripts.figures import style

SIZE = 7.6, 2.9

SHOTS = 10
POINTS = 41
QUERY_LOSS, SUPPORT_LOSS = "query loss", "support loss"
NORM = "gradient norm"
_STYLES = {
    "MAML": (style.BLUE, "-", "o", ""),
    "pretrained": (style.ORANGE, "--", "s", "///"),
    "random": (style.GREY, ":", "^", "..."),
}


def numbers(learners) -> list[dict]:
    """For each learner its losses after a step of each size, their decrease, and the gradient's norm.

    Args:
        learners: Learners; of MAML the first seed. "random" is the network as MAML's training found it.

    Returns:
        Rows of learner, quantity ("support loss", "query loss", "decrease of support loss", "decrease of query loss",
        "gradient norm"), step_size, mean over the 600 test tasks, ci95.
    """
    maml, pretrained = next(iter(learners.maml.values())), learners.pretrained
    untrained = build.build(maml.experiment, build.load(maml.experiment, None).source, jit=False)
    tasks = Tasks(*(tf.constant(values) for values in maml.tasks(SHOTS)))
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
    """[sizes, tasks] losses on the query after one update of each size, in any case along the same gradient."""
    graph = maml.compiler(lambda tasks, size: maml.curves.graph(tasks, size, num_updates=1)["losses"][:, 1])
    return np.array([graph(tasks, tf.constant(size, maml.dtype)) for size in step_sizes])


def gradient_norms(maml, tasks):
    """[tasks] Euclidean norms of the gradient of the loss on the support, before any update."""

    def of_task(task):
        start = maml.start()
        with tf.GradientTape() as tape:
            tape.watch(start.params)
            loss = maml.learner.evaluate(start, *task[:2], "support")[0]["support_loss"]
        return tf.sqrt(tf.add_n([tf.reduce_sum(g**2) for g in tape.gradient(loss, start.params)]))

    return maml.compiler(lambda tasks: tf.vectorized_map(of_task, tasks))(tasks).numpy()


def draw(figure, rows: list[dict]) -> None:
    """The loss along the gradient, its decrease by a step of the usual size, and the gradient's norm."""
    along, decrease, norm = figure.subplots(1, 3, width_ratios=(1.8, 1, 1))
    for name, (color, line, marker, _) in _STYLES.items():
        size, mean, ci95 = _values(rows, name, QUERY_LOSS)
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
        _, mean, ci95 = _values(rows, name, quantity)
        look = {"color": color, "alpha": 0.6, "hatch": hatch, "edgecolor": "black", "linewidth": 0.7, "capsize": 3}
        panel.bar(position, mean, 0.7, yerr=ci95, **look)
        above = (0, 4)  # in points
        text = f"{mean[0]:#.2g}".removesuffix(".")
        panel.annotate(text, (position, (mean + ci95)[0]), above, textcoords="offset points", ha="center")
    panel.set_xticks(range(len(_STYLES)), [name.replace("pretrained", "pre-\ntrained") for name in _STYLES])


def _row(learner, quantity, step_size, values):
    values = np.asarray(values, np.float64)
    ci95 = 1.96 * values.std() / np.sqrt(len(values))
    return {"learner": learner, "quantity": quantity, "step_size": step_size, "mean": values.mean(), "ci95": ci95}


def _values(rows, learner, quantity):
    found = [row for row in rows if (row["learner"], row["quantity"]) == (learner, quantity)]
    return tuple(np.array([row[name] for row in found], float) for name in ("step_size", "mean", "ci95"))
