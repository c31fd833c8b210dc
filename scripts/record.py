"""The record of our results, docs/results.csv: a line for every number or curve, with how it was made.

A line's columns are the fields of `Line`. If a line has numbers after several numbers of updates, `updates` and the
numbers are lists with blanks between them. Numbers that were not measured are empty. The tables of RESULTS.md and
README.md and the pictures of table 1 and figure 5 are made from the record; `scripts.reproduce --verify` tests the
weights in runs/ against it.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_generators.files import reading
from scripts.results import RESULTS

PATH = Path(__file__).parents[1] / "docs" / "results.csv"
NONE = "-"  # in a list, stands for an interval that is not known


class Number(NamedTuple):
    """A mean and the half width of its 95 % confidence interval, as texts with the known digits."""

    mean: str
    ci95: str

    def __str__(self):
        return self.mean if self.ci95 == NONE else f"{self.mean} +- {self.ci95}"


class Line(NamedTuple):
    """A line of the record; all fields are texts.

    row: name of the row in `scripts.reproduce`, or for a variation of a row, its name with an addition; else "".
    run: description of the run in tables.
    published, published_ci95: numbers of the paper or its authors.
    ours, ci95: numbers of our run: accuracies in %, errors, returns.
    updates: numbers of updates after which they were measured.
    split: split of the tasks, test, val, ...; or "40 goals".
    checkpoint: "last", or "best" on validation data or by training return.
    iterations: number of iterations of training.
    seed: seed of training.
    command, commit: command and commit that made the line.
    hours: hours that the command took.
    machine: machine that it ran on.
    """

    row: str = ""
    run: str = ""
    published: str = ""
    published_ci95: str = ""
    ours: str = ""
    ci95: str = ""
    updates: str = ""
    split: str = ""
    checkpoint: str = ""
    iterations: str = ""
    seed: str = ""
    command: str = ""
    commit: str = ""
    hours: str = ""
    machine: str = ""

    @property
    def theirs_by_update(self) -> dict[str, Number]:
        """The published numbers, by number of updates; the key is "" if `updates` is empty."""
        return self._by_update(self.published, self.published_ci95)

    @property
    def ours_by_update(self) -> dict[str, Number]:
        """Our numbers, by number of updates; the key is "" if `updates` is empty."""
        return self._by_update(self.ours, self.ci95)

    @property
    def incomplete(self) -> str:
        """A text such as "40 of 375 iterations"; "" if training is as long as the paper's or its length is unknown."""
        result = RESULTS.get(self.row)
        if not self.iterations or result is None or int(self.iterations) >= result.total:
            return ""
        return f"{int(self.iterations):,} of {result.total:,} iterations"

    def _by_update(self, means, ci95s):
        numbers = [Number(*pair) for pair in zip(means.split(), ci95s.split(), strict=True)]
        return dict(zip(self.updates.split() or [""], numbers, strict=True)) if numbers else {}


def read(path: str | Path = PATH) -> list[Line]:
    """Reads the lines of the record.

    Raises:
        UserError: the record cannot be read, or has other columns.
    """
    with reading(path, "restore it from the repository"), open(path, newline="", encoding="utf-8") as file:
        return [Line(**row) for row in csv.DictReader(file)]


def as_csv(lines: Iterable[Sequence[str]]) -> str:
    """Formats lines as text for the record's file, without a line break after the last."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().rstrip("\n")


def of_row(lines: Iterable[Line], row: str) -> Line | None:
    """Returns the first line of a row; None if there is none."""
    return next((line for line in lines if line.row == row), None)
