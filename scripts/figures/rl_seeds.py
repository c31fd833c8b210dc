"""Draws the returns during several trainings, to compare seeds, networks and implementations."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_generators.errors import UserError
from maml_tf.runs import log, style
from rl.training import PROGRESS

SIZE = 7.2, 3.6

_ORIGINAL = "original"
_COLOURS = style.BLUE, style.ORANGE, style.GREY
_DASHES = "-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1))
_COLUMNS = log.ITERATION, "return_after"


def files(lines: Sequence[str]) -> dict[str, Path]:
    """The csv of each line, by the line's name.

    Args:
        lines: texts "name=path"; path is the folder of a run, which has a progress.csv, or a csv with its columns.

    Raises:
        UserError: a line does not have that form, or two have the same name.
    """
    found: dict[str, Path] = {}
    for line in lines:
        name, _, path = line.partition("=")
        if not name or not path:
            raise UserError(f"--line={line} must be a name and, after a '=', the folder of a run or a csv")
        if name in found:
            raise UserError(f"two lines are named {name!r}: give each a name of its own")
        file = Path(os.path.expanduser(path))
        found[name] = file / PROGRESS if file.is_dir() else file
    return found


def numbers(files: Mapping[str, Path]) -> list[dict]:
    """Makes rows of line, iteration and after, the mean return after the inner update; raises UserError if it cannot.

    Args:
        files: the csv of each line, as from `files`.
    """
    return [{"line": name} | row for name, file in files.items() for row in _returns(file)]


def draw(figure, rows: list[dict], level: float | None = None) -> None:
    """Draws the return after the update against iterations; `level` is a published return."""
    panel = figure.subplots()
    groups = [_ORIGINAL]
    drawn: Counter[str] = Counter()  # the number of lines of each colour, which several groups may share
    for name in dict.fromkeys(row["line"] for row in rows):
        group = name.split(",")[0]
        groups += [] if group in groups else [group]
        place = groups.index(group)
        colour = _COLOURS[(place - 1) % len(_COLOURS)] if place else style.BLACK
        number = drawn[colour]
        drawn[colour] += 1
        points = [(row["iteration"], row["after"]) for row in rows if row["line"] == name]
        look = {"color": colour, "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.0}
        look["alpha"] = 0.5 ** (number // len(_DASHES))  # paler each time the dashes repeat
        panel.plot(*zip(*points, strict=True), label=f"{name} ({points[-1][0] + 1})", **look)
    if level is not None:
        panel.axhline(level, color=style.BLACK, linewidth=0.7, linestyle=(0, (1, 3)), label=f"published: {level:.1f}")
    panel.set_xlabel("iteration")
    panel.set_ylabel("mean return after the update")
    figure.legend(loc="outside right upper", handlelength=3)


def _returns(file):
    """Reads rows of iteration and after from a csv, without rows that cannot be read or have no return."""
    try:
        found = log.read(file, _COLUMNS).rows
    except OSError as error:
        raise UserError(f"the returns in {file} cannot be read ({error.strerror}): name another run or csv") from error
    rows = [row for row in found if row["return_after"]]
    if not rows:
        raise UserError(f"the returns in {file} cannot be read (it has no rows of them): name another run or csv")
    return [{"iteration": int(row[log.ITERATION]), "after": float(row["return_after"])} for row in rows]
