"""The log of a run: TensorBoard's summaries; a csv such as progress.csv, to which a resumed run appends.

Imports no TensorFlow before there are summaries, so that commands which only read a table load at once.
"""

import codecs
import contextlib
import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_generators.errors import user_sentence
from data_generators.files import flush, free_name, reading, replacing

ITERATION = "iteration"
_DELIMITERS = ",;\t"  # of spreadsheets too
_LONGEST_CELL = 40


class Dispensable:
    """Writes for as long as that works; at the first error it says so on stderr, and then writes no more.

    Only errors of files are taken so, see `errors.user_sentence`: any other is ours, and raised.

    Args:
        what: is written, such as the path of a file.
    """

    def __init__(self, what: str | Path):
        self._what = what
        self.failed = False

    def __call__(self, write: Callable, *arguments: Any) -> Any:
        """Calls `write`, unless that has failed before. Returns what it returns, or None."""
        if self.failed:
            return None
        try:
            return write(*arguments)
        except Exception as error:
            reason = user_sentence(error)
            if reason is None:
                raise
            self.failed = True
            lost = "training continues without it, and what would be written there from now on is lost"
            print(f"\nwarning: cannot write {self._what} ({reason}): {lost}", file=sys.stderr)
            return None


@contextlib.contextmanager
def summaries(folder: str | Path, log: bool = True) -> Iterator[Callable[..., None]]:
    """A function write(scalars, iteration, flush=False) of numbers by name, for TensorBoard.

    With `flush` they are in the file at once rather than within minutes. Numbers that are not finite are left out.
    Where summaries cannot be written, for want of room on the disk perhaps, one warning says so, and nothing is written
    from then on: no training should end for its summaries.

    Args:
        folder: for the file.
        log: False for a function that writes nothing.
    """
    if not log:
        yield lambda scalars, iteration, flush=False: None
        return
    import tensorflow as tf  # not above: who only reads a table needs none of it

    # Compiled takes a tenth of the time; and anew for each file, since the graph holds on to it.
    @tf.function(autograph=False)
    def compiled(scalars, iteration):
        for name, value in scalars.items():
            tf.summary.scalar(name, value, iteration)

    def write(scalars, iteration, flush=False):
        with np.errstate(over="ignore"):
            values = {name: np.float32(value) for name, value in scalars.items()}
        # As tensors, since a float would be traced.
        tensors = {name: tf.constant(value) for name, value in values.items() if np.isfinite(value)}
        attempt(compiled, tensors, tf.constant(iteration, tf.int64))
        if flush:
            attempt(tf.summary.flush)

    attempt, opened = Dispensable(f"TensorBoard's summaries in {folder}"), contextlib.ExitStack()
    attempt(lambda: opened.enter_context(tf.summary.create_file_writer(str(folder)).as_default()))
    try:
        yield write
    finally:
        attempt(opened.close)  # which writes what is left


class Contents(NamedTuple):
    """What can be read of a table.

    rows: column -> text, "" where there is no number.
    damaged: whether the file holds more than these rows: others that cannot be read, or other columns.
    half: whether it ends in half a row.
    """

    rows: list[dict[str, str]]
    damaged: bool
    half: bool = False


class Table:
    """The table of one run. Where it cannot be written, a warning is printed, and the run continues without it.

    Args:
        path: of the file; its folder exists.
        columns: names of the metrics of an iteration. "iteration" is the first column without being named.
        digits: of each number; None for all.
    """

    def __init__(self, path: str | Path, columns: Iterable[str], digits: int | None = None):
        self.path, self._digits = Path(path), digits
        self.columns = (ITERATION, *columns)
        self._attempt = Dispensable(self.path)

    def begin(self, iteration: int) -> list[dict[str, str]]:
        """Drops rows from this iteration on, which are about to be computed again.

        A damaged file is renamed to <name>.damaged1 or the next that is free; the rows that can be read are kept.

        Args:
            iteration: where the run starts.

        Returns:
            The rows kept, column -> text.
        """
        try:
            found = read(self.path, self.columns)
            if iteration and not self.path.stat().st_size:  # it has had rows
                found = Contents([], damaged=True)
        except FileNotFoundError:
            found = Contents([], damaged=False)
        except OSError:  # a folder of that name, for one
            found = Contents([], damaged=True)
        kept = [row for row in found.rows if int(row[ITERATION]) < iteration]
        self._attempt(self._replace, kept, found.damaged)
        return kept

    def rows(self) -> list[dict[str, str]]:
        """The rows that can be read, column -> text; none where there is no file."""
        try:
            return read(self.path, self.columns).rows
        except OSError:
            return []

    def add(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Adds the row of an iteration; what is missing stays empty, what has no column is left out."""
        texts = [self._text(metrics[name]) if name in metrics else "" for name in self.columns[1:]]
        self._attempt(self._append, [str(iteration), *texts])

    def _text(self, number):
        return repr(float(number)) if self._digits is None else f"{number:.{self._digits}g}"

    def _replace(self, rows, damaged):
        with replacing(self.path) as part:
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            if damaged:
                flush(part)  # only then may the old one go
                aside = self.path.rename(free_name(self.path, "damaged"))
                print(f"{self.path} was damaged: it is now {aside.name}, and the rows that can be read are kept")

    def _append(self, row):
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)


def read(path: str | Path, columns: Sequence[str]) -> Contents:
    """Reads what can be read of a table, whatever a spreadsheet, a kill or a bad disk has made of it.

    Half a row at the end, which a process that was killed may have left, is no damage.

    Args:
        path: of the file.
        columns: of the table, "iteration" first. Those that the file lacks are "" in all rows.

    Raises:
        OSError: the file cannot be read.
    """
    data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    # Line by line: a stray quotation mark would have a csv reader take all that follows for one cell.
    lines = [line.decode("utf-8", "replace") for line in data.splitlines() if line.strip()]
    if not lines:
        return Contents([], damaged=False)
    delimiter = max(_DELIMITERS, key=lines[0].count)
    header = _cells(lines[0], delimiter)
    names, body = [name.strip().lower() for name in header], lines[1:]
    if _row(header, len(columns), columns, _usual(columns), delimiter):  # there is no header
        names, body = list(columns), lines
    places = _places(names, columns)
    rows = [_row(_cells(line, delimiter), len(names), columns, places, delimiter) for line in body]
    half = bool(rows) and rows[-1] is None and not data.endswith((b"\n", b"\r"))
    whole = [row for row in rows if row is not None]
    damaged = len(whole) + half < len(rows) or delimiter != "," or not set(header) <= set(columns)
    return Contents(whole, damaged, half)


@contextlib.contextmanager
def rows(path: Path) -> Iterator[list[dict[str, str]]]:
    """Gives the rows of a csv as dicts.

    Raises:
        UserError: it cannot be read, or is not what its reader expects; also in place of what goes wrong while this is
            entered.
    """
    with reading(path, "run the row again"), open(path, newline="", encoding="utf-8") as file:
        yield list(csv.DictReader(file))


def _places(names, columns):
    """Where the columns are, by name; in their usual places, if the names of fewer than half are not what they were."""
    places = {column: names.index(column) for column in columns if column in names}
    usual = _usual(columns)
    in_usual_places = len(names) == len(columns) and all(usual[column] == i for column, i in places.items())
    return usual if in_usual_places and 2 * len(places) > len(columns) else places


def _usual(columns):
    return {column: i for i, column in enumerate(columns)}


def _row(cells, width, columns, places, delimiter):
    """A row of these cells, or None if it is not whole."""
    if len(cells) != width:
        return None
    if delimiter == ";":  # where the comma is the decimal point
        cells = [cell.replace(",", ".") for cell in cells]
    row = {column: cells[places[column]].strip() if column in places else "" for column in columns}
    iteration, *numbers = row.values()
    numbers = list(filter(None, numbers))
    if not re.fullmatch("[0-9]{1,15}", iteration) or not numbers or not all(map(_is_number, numbers)):
        return None
    return row


def _cells(line, delimiter):
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return len(text) <= _LONGEST_CELL
