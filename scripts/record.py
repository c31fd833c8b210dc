"""The record of our results, docs/results.csv: a line for every number or curve, with how it was made.

A line's columns are the fields of `Line`. Where a number was measured after several updates, `updates` and the numbers
are lists with blanks between them. Numbers that were not measured are empty. RESULTS.md, README.md and the pictures of
table 1 and figure 5 are written from the record; `scripts.reproduce --verify` compares it with the weights in runs/.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_generators.files import reading
from scripts.results import RESULTS

PATH = Path(__file__).parents[1] / "docs" / "results.csv"
NONE = "-"  # in a list: no interval


class Number(NamedTuple):
    """A mean and the half width of its 95 % confidence interval, as texts with the digits that are known."""

    mean: str
    ci95: str

    def __str__(self):
        return self.mean if self.ci95 == NONE else f"{self.mean} +- {self.ci95}"


class Line(NamedTuple):
    """A line of the record; all are texts.

    row: as in `scripts.reproduce`; a variation of a row has a name of its own that continues it. "" for other runs.
    run: what it is, in tables.
    published, published_ci95: numbers of the paper or its authors.
    ours, ci95: numbers of our run: accuracies in %, errors, returns.
    updates: numbers of updates after which they were measured.
    split: of the tasks: test, val, ...; "40 goals".
    checkpoint: last, or best on validation data or by training return.
    iterations: of training.
    seed: of training.
    command, commit: that made it.
    hours: that the command took.
    machine: it ran on.
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
        """The published numbers; the key is "" where no update is named."""
        return self._by_update(self.published, self.published_ci95)

    @property
    def ours_by_update(self) -> dict[str, Number]:
        """Our numbers; the key is "" where no update is named."""
        return self._by_update(self.ours, self.ci95)

    @property
    def incomplete(self) -> str:
        """ "40 of 375 iterations", or "" where the training is as long as the paper's, or that is not known."""
        result = RESULTS.get(self.row)
        if not self.iterations or result is None or int(self.iterations) >= result.total:
            return ""
        return f"{int(self.iterations):,} of {result.total:,} iterations"

    def _by_update(self, means, ci95s):
        numbers = [Number(*pair) for pair in zip(means.split(), ci95s.split(), strict=True)]
        return dict(zip(self.updates.split() or [""], numbers, strict=True)) if numbers else {}


def read(path: str | Path = PATH) -> list[Line]:
    """The lines of the record.

    Raises:
        UserError: it cannot be read, or its columns are others.
    """
    with reading(path, "restore it from the repository"), open(path, newline="", encoding="utf-8") as file:
        return [Line(**row) for row in csv.DictReader(file)]


def as_csv(lines: Iterable[Sequence[str]]) -> str:
    """Lines as text for the record's file, without a line break after the last."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().rstrip("\n")


def of_row(lines: Iterable[Line], row: str) -> Line | None:
    """The first line of a row; None if there is none."""
    return next((line for line in lines if line.row == row), None)
