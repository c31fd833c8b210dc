"""Draws the paper's table 1 and figure 5 from the record of results, with the published numbers beside ours."""

from collections.abc import Sequence

from maml_tf.runs import style
from rl.envs import ENVIRONMENTS
from scripts.record import Line
from scripts.results import RESULTS

TABLE_1_SIZE, FIGURE_5_SIZE = (6.4, 5.4), (8.8, 4.3)

_DATASETS = {"omniglot": "Omniglot", "miniimagenet": "miniImagenet"}
_PUBLISHED, _OURS, _OTHER = "published", "ours", "ours, but on other classes or after fewer iterations"
_MARKERS = {
    _PUBLISHED: {"color": "0.35", "marker": "o", "markerfacecolor": "white", "markeredgewidth": 1.1},
    _OURS: {"color": style.BLUE, "marker": "o"},
    _OTHER: {"color": style.ORANGE, "marker": "D", "markersize": 4},
}
_POLICIES = {
    "maml": {"color": style.BLUE, "marker": "o", "linestyle": "-", "label": "MAML"},
    "maml_tanh": {
        "color": style.BLUE,
        "marker": "o",
        "markerfacecolor": "white",
        "linestyle": "--",
        "label": "MAML, tanh in place of ReLU",
    },
    "pretrained": {"color": style.ORANGE, "marker": "s", "linestyle": "--", "label": "pretrained"},
    "random": {"color": style.GREY, "marker": "^", "linestyle": "-.", "label": "random"},
    "oracle": {"color": style.BLACK, "marker": "", "linestyle": ":", "label": "oracle"},
}


def table_1(lines: Sequence[Line]) -> list[dict]:
    """Makes rows of row, dataset, run, whose, accuracy and ci95, in %.

    Args:
        lines: lines of the record.
    """
    rows = []
    for line in _without_second_checkpoints(lines):
        dataset = _DATASETS.get(line.row.partition("_")[0])
        if dataset is None or line.row not in RESULTS:
            continue
        comparable = line.split == "test" and not line.incomplete
        sides = (_PUBLISHED, line.theirs_by_update), (_OURS if comparable else _OTHER, line.ours_by_update)
        for whose, numbers in sides:
            for number in [*numbers.values()][-1:]:
                of_row = {"row": line.row, "dataset": dataset, "run": line.run, "whose": whose}
                rows.append(of_row | {"accuracy": float(number.mean), "ci95": float(number.ci95)})
    return rows


def figure_5(lines: Sequence[Line]) -> list[dict]:
    """Makes rows of env, policy, whose, updates, return, ci95 and note: returns of the locomotion policies of seed 0.

    Args:
        lines: lines of the record.
    """
    rows = []
    for env in [name for name, env in ENVIRONMENTS.items() if env.published][1:]:  # 2D navigation is in figure 4
        for line in _without_second_checkpoints(lines):
            policy = line.row.removeprefix(f"{env}_")
            if not line.row.startswith(env) or policy not in _POLICIES or line.seed not in ("", "0"):
                continue
            of_line = {"env": env, "policy": policy}
            for whose, numbers in ((_PUBLISHED, line.theirs_by_update), (_OURS, line.ours_by_update)):
                note = line.incomplete if whose == _OURS else ""
                for updates, number in numbers.items():
                    measured = {"return": float(number.mean), "ci95": float(number.ci95), "note": note}
                    rows.append(of_line | {"whose": whose, "updates": int(updates)} | measured)
    return rows


def _without_second_checkpoints(lines):
    """Leaves out lines of a best checkpoint whose row also has a line of the last checkpoint."""
    last = {line.row for line in lines if line.checkpoint != "best"}
    return [line for line in lines if line.checkpoint != "best" or line.row not in last]


def draw_table_1(figure, rows: list[dict]) -> None:
    """Draws a line for each row of the table: published hollow, ours filled, both with 95 % confidence intervals."""
    runs = {
        dataset: [*dict.fromkeys(row["run"] for row in rows if row["dataset"] == dataset)]
        for dataset in _DATASETS.values()
    }
    panels = figure.subplots(len(runs), height_ratios=[len(of_dataset) for of_dataset in runs.values()])
    for panel, (dataset, names) in zip(panels, runs.items(), strict=True):
        for row in rows:
            if row["dataset"] == dataset:
                place = names.index(row["run"]) + (-0.14 if row["whose"] == _PUBLISHED else 0.14)
                panel.errorbar(
                    row["accuracy"], place, xerr=row["ci95"], linewidth=0, elinewidth=1.2, **_MARKERS[row["whose"]]
                )
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.set_axisbelow(True)
        panel.grid(axis="y", color="0.92", linewidth=0.7)
        panel.set_title(dataset, loc="left", fontweight="bold")
    panels[-1].set_xlabel("accuracy in %, with its 95 % confidence interval")
    shown = [whose for whose in _MARKERS if any(row["whose"] == whose for row in rows)]
    handles = [panels[0].plot([], [], linewidth=0, **_MARKERS[whose])[0] for whose in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=len(shown))


def draw_figure_5(figure, rows: list[dict]) -> None:
    """Draws returns against gradient steps: published above, ours below, a column for each environment."""
    envs = [*dict.fromkeys(row["env"] for row in rows)]
    panels = figure.subplots(2, len(envs), sharex=True, sharey="col", squeeze=False)
    for column, env in enumerate(envs):
        for panel, whose in zip(panels[:, column], (_PUBLISHED, _OURS), strict=True):
            _draw_returns(panel, [row for row in rows if row["env"] == env and row["whose"] == whose])
        panels[0, column].set_title(ENVIRONMENTS[env].title)
        panels[1, column].set_xlabel("gradient steps")
    for panel, whose in zip(panels[:, 0], (_PUBLISHED, _OURS), strict=True):
        panel.set_ylabel(f"{whose}: return")
    shown = [policy for policy in _POLICIES if any(row["policy"] == policy for row in rows)]
    handles = [panels[0, 0].plot([], [], **_POLICIES[policy])[0] for policy in shown]
    figure.legend(handles, [handle.get_label() for handle in handles], loc="outside lower center", ncols=len(shown))


def _draw_returns(panel, rows):
    for policy, line in _POLICIES.items():
        of_policy = [row for row in rows if row["policy"] == policy]
        if not of_policy:
            continue
        updates, mean, ci95 = ([row[name] for row in of_policy] for name in ("updates", "return", "ci95"))
        if policy == "oracle":  # it does not adapt
            panel.axhline(mean[0], **line)
            continue
        panel.plot(updates, mean, **line)
        low, high = ([m + sign * c for m, c in zip(mean, ci95, strict=True)] for sign in (-1, 1))
        panel.fill_between(updates, low, high, color=line["color"], alpha=0.15, linewidth=0)
    panel.set_xticks(sorted({row["updates"] for row in rows}))
    note = next((row["note"] for row in rows if row["policy"] == "maml" and row["note"]), "")
    if note:
        panel.text(0.5, 0.68, f"MAML after\n{note}", transform=panel.transAxes, ha="center", fontsize=8, color="0.3")
