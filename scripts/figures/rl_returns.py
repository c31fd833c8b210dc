"""Returns on the published test goals after every update, by policy, and their table and picture."""

from maml_tf.runs import published
from maml_tf.supervised.report import aligned
from rl.envs import find
from scripts.figures import style

SIZE = 6.4, 3.4

_STYLES = {
    "maml": {"color": style.BLUE, "marker": "o", "linestyle": "-", "label": "MAML (ours)"},
    "pretrained": {"color": style.ORANGE, "marker": "s", "linestyle": "--", "label": "pretrained"},
    "random": {"color": style.GREY, "marker": "^", "linestyle": "-.", "label": "random"},
    "oracle": {"color": style.BLACK, "marker": "", "linestyle": ":", "label": "oracle"},
}


def rows_of(adaptations, update):
    """Rows of policy, update ("vpg" or "trpo"), updates, mean, ci95, and the published mean and ci95.

    Args:
        adaptations: dict of evaluation.Adaptation by policy.
        update: how they were adapted.
    """
    return [
        {"policy": policy, "update": update, "updates": number, "mean": float(mean), "ci95": float(ci95)}
        for policy, adaptation in adaptations.items()
        for number, (mean, ci95) in enumerate(zip(adaptation.mean, adaptation.ci95, strict=True))
    ]


def with_published(rows, env):
    """The rows with published_mean and published_ci95; None where there is no such number or the update is TRPO's."""
    name = find(env).published
    curves = published.published_returns(name) if name else {}
    return [row | _published(row, curves.get(row["policy"])) for row in rows]


def table(rows):
    """Lines of a table: ours and the published returns side by side."""
    cells = [("policy", "updates", "return", "published")]
    for row in rows:
        ours = f"{row['mean']:.1f} +- {row['ci95']:.1f}"
        theirs = "" if row["published_mean"] is None else f"{row['published_mean']:.1f} +- {row['published_ci95']:.1f}"
        cells.append((row["policy"], str(row["updates"]), ours, theirs))
    return aligned(cells)


def draw(figure, rows):
    """Return against gradient steps with 95 % confidence bands; the published MAML is thin."""
    panel = figure.subplots()
    last = max(row["updates"] for row in rows)
    for policy, line in _STYLES.items():
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


def _published(row, curve):
    known = curve is not None and row["update"] == "vpg" and row["updates"] < len(curve.mean)
    mean, ci95 = (curve.mean[row["updates"]], curve.ci95[row["updates"]]) if known else (None, None)
    return {"published_mean": mean, "published_ci95": ci95}
