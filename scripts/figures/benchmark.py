"""Draws the time of a step in other frameworks, as bars that show its ratio to ours."""

from collections.abc import Sequence

from maml_tf.runs import style
from scripts import benchmark_record as record

SIZE = 8.8, 4.0
_LOOKS = {
    "PyTorch, vmap": {"facecolor": style.ORANGE},
    "PyTorch, loop": {"facecolor": style.ORANGE, "alpha": 0.5},
    "PyTorch, vmap, a process per core": {"facecolor": style.ORANGE, "hatch": "////"},
    "PyTorch, loop, a process per core": {"facecolor": style.ORANGE, "alpha": 0.5, "hatch": "////"},
    "JAX, jit(vmap)": {"facecolor": style.BLUE},
    "JAX, jit(lax.map), a device per core": {"facecolor": style.BLUE, "hatch": "////"},
    "JAX, lax.scan": {"facecolor": style.BLUE, "alpha": 0.5},
}
_OTHER = {"facecolor": style.GREY}
_TICKS = 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100


def numbers(rows: Sequence[dict]) -> list[dict]:
    """Makes rows of workload, who, ratio to ours, its quartiles low and high, ms, and ours_ms from the csv's rows."""
    found = record.summary(rows)
    ours = {s["workload"]: s["ms"] for s in found if s["who"] == record.OURS}
    keys = "workload", "who", "ratio", "low", "high", "ms"
    others = [s for s in found if s["who"] != record.OURS]
    return [{key: s[key] for key in keys} | {"ours_ms": ours[s["workload"]]} for s in others]


def draw(figure, rows: Sequence[dict]) -> None:
    """Draws a group of bars per workload, a bar per peer, with quartiles: up is slower than ours, down is faster."""
    from matplotlib.patches import Patch  # not at the top, since it takes a second

    panel = figure.subplots()
    names, whos = ([*dict.fromkeys(row[key] for row in rows)] for key in ("workload", "who"))
    start, ticks = 0.0, []
    for name in names:
        some = sorted((row for row in rows if row["workload"] == name), key=lambda row: whos.index(row["who"]))
        ticks.append(start + (len(some) - 1) / 2)
        for place, row in enumerate(some, int(start)):
            panel.bar(
                place,
                row["ratio"] - 1,
                0.9,
                bottom=1,
                edgecolor="white",
                linewidth=0.5,
                **_LOOKS.get(row["who"], _OTHER),
            )
            error = [[row["ratio"] - row["low"]], [row["high"] - row["ratio"]]]
            panel.errorbar(place, row["ratio"], error, color="0.2", linewidth=0, elinewidth=1)
            above = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "fontsize": 7}
            panel.annotate(f"{row['ratio']:.2g}", (place, max(1, row["high"])), **above)
        start += len(some) + 1
    ours = {row["workload"]: row["ours_ms"] for row in rows}
    panel.set_xticks(ticks, [f"{_broken(name)}\n{ours[name]:.3g} ms" for name in names])
    panel.tick_params(axis="x", length=0)
    panel.axhline(1, color=style.BLACK, linewidth=1)
    panel.set_yscale("log")
    least, most = min(row["low"] for row in rows), max(row["high"] for row in rows)
    panel.set_ylim(min(0.8, least / 1.2), max(1.25, most * 1.3))
    shown = [tick for tick in _TICKS if panel.get_ylim()[0] <= tick <= panel.get_ylim()[1]]
    panel.set_yticks(shown, [f"{tick:g}" for tick in shown])
    panel.minorticks_off()
    panel.set_ylabel("time of a step, ours = 1")
    handles = [Patch(**_LOOKS.get(who, _OTHER)) for who in whos]
    figure.legend(handles, whos, loc="outside lower center", ncols=3)


def _broken(name):
    """Breaks the name of a workload into lines that fit below its bars."""
    for begin in ("_5way", "_20way", "_first", "_no", "_loop"):
        name = name.replace(begin, f"\n{begin[1:]}")
    return name.replace("_", " ")
