"""Picture of the error against the number of updates (figure 3 of the paper)."""

from scripts import figures
from scripts.sinusoid.errors import DIVERGED, MAML, ORACLE, ORIGINAL, TUNED, curve, error_rows, seeds_of
from scripts.sinusoid.runs import SHOTS, UPDATES

SIZE = 7.6, 3.0

_MAML_STYLE = {"color": figures.BLUE, "linestyle": "-", "marker": "o", "label": "MAML"}
_PRETRAINED_STYLE = {"color": figures.ORANGE, "linestyle": "--", "marker": "s", "label": "pretrained, step size tuned"}

numbers = error_rows  # those of the table, so that the two agree


def draw(figure, rows):
    """One panel for each number of shots: MAML, its mean over seeds; pretrained, tuned; and the oracle, flat."""
    panels = figure.subplots(1, len(SHOTS), sharex=True, sharey=True)
    for panel, shots in zip(panels, SHOTS, strict=True):
        _draw_panel(panel, rows, shots)
        panel.set(title=f"$K = {shots}$", xlabel="number of updates")
    panels[0].set(yscale="log", ylim=(1e-3, 10), xticks=range(0, UPDATES + 1, 2))
    panels[0].set_ylabel(f"mean squared error\n(at most {DIVERGED:.0f} per task)")
    figures.legend_below(figure, panels[SHOTS.index(10)])


def _draw_panel(panel, rows, shots):
    """MAML's seeds as thin lines; the oracle only before any update, since it has nothing to learn from the points."""
    _, mse, ci95 = curve(rows, shots=shots, learner=ORACLE, updates=0)
    panel.axhspan((mse - ci95)[0], (mse + ci95)[0], color=figures.GREY, alpha=0.4, linewidth=0)
    *seeds, shown = seeds_of(rows)
    _draw_curve(panel, curve(rows, "capped_mse", shots=shots, learner=MAML, seed=shown), _MAML_STYLE)
    for seed in seeds:
        updates, errors, _ = curve(rows, "capped_mse", shots=shots, learner=MAML, seed=seed)
        label = "MAML, each seed" if seed == seeds[0] else None
        panel.plot(updates, errors, color=figures.BLUE, linewidth=0.6, label=label)
    _draw_curve(panel, curve(rows, "capped_mse", shots=shots, learner=TUNED), _PRETRAINED_STYLE)
    panel.axhline(mse[0], color=figures.BLACK, linestyle="-.", linewidth=1.2, label="oracle")
    updates, errors, _ = curve(rows, shots=shots, learner=ORIGINAL["maml"])
    if len(updates):
        panel.plot(updates, errors, "x", color=figures.BLACK, label="MAML, authors' code", zorder=3)


def _draw_curve(panel, values, line):
    updates, mse, ci95 = values
    panel.fill_between(updates, mse - ci95, mse + ci95, color=line["color"], alpha=0.25, linewidth=0)
    panel.plot(updates, mse, markerfacecolor="white", **line)
