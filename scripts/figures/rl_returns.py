"""Returns on the published test goals after every update, by policy, and their table and picture."""

from collections.abc import Mapping

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


def numbers(adaptations: Mapping, update: str, env: str) -> list[dict]:
    """Rows of policy, update, updates, mean, ci95, published_mean and published_ci95.

    The last two are None where there is no such number, or the update is TRPO's.

    Args:
        adaptations: evaluation.Adaptation by policy.
        update: by which they were adapted, "vpg" or "trpo".
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


def table(rows: list[dict]) -> list[str]:
    """Lines of a table: ours and the published returns side by side."""
    cells = [("policy", "updates", "return", "published")]
    for row in rows:
        ours = f"{row['mean']:.1f} +- {row['ci95']:.1f}"
        theirs = "" if row["published_mean"] is None else f"{row['published_mean']:.1f} +- {row['published_ci95']:.1f}"
        cells.append((row["policy"], str(row["updates"]), ours, theirs))
    return aligned(cells)


def draw(figure, rows: list[dict]) -> None:
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
