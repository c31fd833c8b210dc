"""Reads and writes the csv of `scripts.benchmark --peers` and `--against`, a row per block, and makes its tables.

Columns: `workload`; `who` was measured, "ours", a peer or a commit; the peer's `version` and `setting`; `turn`; `ms`,
milliseconds of a step; `peak_mb`, peak memory in MB; `first_s`, seconds to the end of the first step; the `machine`
and its `load`, the load average of the minute before the command began.
"""

import collections
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_generators.errors import UserError
from maml_tf.runs import style

OURS = "ours"
_DOCS = Path(__file__).parents[1] / "docs"
PEERS, AGAINST = _DOCS / "benchmark_peers.csv", _DOCS / "benchmark_against.csv"
_COMMANDS = "python -m scripts.benchmark with --peers or --against=COMMIT, and --csv=FILE"
_NUMBERS = {"turn": int, "ms": float, "peak_mb": float, "first_s": float, "load": float}


def read(path: str | Path) -> list[dict[str, Any]]:
    """Reads the rows of a csv; numbers that were not measured are None.

    Raises:
        UserError: the file cannot be read, is another csv, or lacks blocks of this project.
    """
    numbers = {name: lambda entry, of=of: of(entry) if entry else None for name, of in _NUMBERS.items()}
    rows = style.read_csv(path, numbers, f"write it by {_COMMANDS}")
    ours = {(row["workload"], row["turn"]) for row in rows if row["who"] == OURS}
    if not rows or any((row["workload"], row["turn"]) not in ours for row in rows):
        raise UserError(f"{path} lacks blocks of this project: write it by {_COMMANDS}")
    return rows


def check(path: Path, commit: str | None) -> None:
    """Raises UserError if a file holds comparisons other than with `commit` or, if that is None, with the peers."""
    if not (path.exists() and path.stat().st_size):
        return
    others = {row["who"] for row in read(path)} - {OURS}
    compared = {who for who in others if not who.startswith(("PyTorch", "JAX"))}
    if compared != {commit} - {None}:
        was = f"--against={compared.pop()}" if compared else "--peers"
        raise UserError(f"{path} has measurements of {was}: give --csv another file")


def replace(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows of a workload into a csv; they replace its earlier rows of the same workload."""
    before = read(path) if path.exists() and path.stat().st_size else []
    order = [*dict.fromkeys(row["workload"] for row in before + rows)]
    kept = [row for row in before if row["workload"] != rows[0]["workload"]]
    style.write_csv(path, sorted(kept + rows, key=lambda row: order.index(row["workload"])))


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarises each workload and party: median time, and median and quartiles of its ratio to ours in the same turn.

    Returns:
        dicts of workload, who, ms, ratio, low, high, and the medians peak_mb and first_s, None where not measured.
    """
    rows = list(rows)
    ours = {(row["workload"], row["turn"]): row["ms"] for row in rows if row["who"] == OURS}
    found = []
    for name, who in dict.fromkeys((row["workload"], row["who"]) for row in rows):
        some = [row for row in rows if (row["workload"], row["who"]) == (name, who)]
        low, ratio, high = np.percentile([row["ms"] / ours[name, row["turn"]] for row in some], (25, 50, 75))
        numbers = {"ms": _median(some, "ms"), "ratio": float(ratio), "low": float(low), "high": float(high)}
        others = {key: _median(some, key) for key in ("peak_mb", "first_s")}
        found.append({"workload": name, "who": who} | numbers | others)
    return found


def _median(rows, key):
    values = [row[key] for row in rows if row[key] is not None]
    return float(np.median(values)) if values else None


def printed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the lines of a table of one or more workloads, for a terminal."""
    cells = [("workload", "who", "ms", "to ours", "quartiles", "peak MB", "first s", "setting")]
    settings = {(row["workload"], row["who"]): row["setting"] for row in rows}
    for s in summary(rows):
        of_step = f"{s['ms']:.3g}", f"{s['ratio']:.2f}", f"{s['low']:.2f} to {s['high']:.2f}"
        others = _text(s["peak_mb"], ".0f"), _text(s["first_s"], ".1f")
        cells.append((s["workload"], s["who"], *of_step, *others, settings[s["workload"], s["who"]]))
    return style.aligned(cells)


def peers_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells of the table of each party's time relative to ours, with quartiles."""
    return _by_party(rows, "ours, ms", lambda s: f"{s['ms']:.3g}", _ratio)


def memory_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells of the table of peak memory in MB."""
    return _by_party(rows, OURS, *[lambda s: _text(s["peak_mb"], ".0f")] * 2)


def _by_party(rows, title, ours, theirs):
    found = summary(rows)
    others = [who for who in dict.fromkeys(s["who"] for s in found) if who != OURS]
    cells = [["workload", title, *others]]
    for name in dict.fromkeys(s["workload"] for s in found):
        of = {s["who"]: s for s in found if s["workload"] == name}
        cells.append([f"`{name}`", ours(of[OURS]), *(theirs(of[who]) if who in of else "" for who in others)])
    return cells


def against_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells of the table that compares a commit with now: times, ratio with quartiles, memory, first step."""
    found = summary(rows)
    then, now = ({s["workload"]: s for s in found if (s["who"] == OURS) is ours} for ours in (False, True))
    commit = next((s["who"] for s in found if s["who"] != OURS), "before")
    cells = [["workload", f"{commit}, ms", "now, ms", "ratio", "peak MB", "first step, s"]]
    for name, old in then.items():
        pairs = [f"{_text(old[key], spec)}, {_text(now[name][key], spec)}" for key, spec in _PAIRS.items()]
        cells.append([f"`{name}`", f"{old['ms']:.3g}", f"{now[name]['ms']:.3g}", _ratio(old), *pairs])
    return cells


def measured_on(rows: Sequence[dict[str, Any]], quartiles: bool = True) -> str:
    """Says in a sentence how and where the rows were measured; `quartiles`: whether the table shows quartiles."""
    versions = dict.fromkeys(row["version"] for row in rows if row["version"])
    turns = collections.Counter((row["workload"], row["who"]) for row in rows).values()
    loads = [row["load"] for row in rows]
    machines = " and ".join(dict.fromkeys(row["machine"] for row in rows))
    return (
        f"Medians of {_range(turns)} turns{', with quartiles in brackets' * quartiles}; "
        f"{', '.join([machines, *versions])}; "
        f"in the minute before, {_range(loads)} processes wanted to run."
    )


_PAIRS = {"peak_mb": ".0f", "first_s": ".1f"}


def _ratio(s):
    return f"{s['ratio']:.2f} ({s['low']:.2f}, {s['high']:.2f})"


def _text(value, spec):
    return "-" if value is None else format(value, spec)


def _range(values):
    least, most = min(values), max(values)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"
