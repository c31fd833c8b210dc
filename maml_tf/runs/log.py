"""The logs of a run: TensorBoard's summaries, and csv tables such as progress.csv, to which a resumed run appends.

Imports TensorFlow only when summaries are written, so that commands that only read a table start quickly.
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
_DELIMITERS = ",;\t"  # "," is ours; spreadsheets may write the others
_LONGEST_CELL = 40


class Dispensable:
    """Writes output that a run can do without: after the first error, it warns on stderr and writes nothing more.

    Only errors that `errors.user_sentence` knows, such as those of files, are handled so. Any other error is a bug, and
    is raised.

    Args:
        what: name of what is written, such as the path of a file.
    """

    def __init__(self, what: str | Path):
        self._what = what
        self.failed = False

    def __call__(self, write: Callable, *arguments: Any) -> Any:
        """Calls `write` and returns its result; returns None if this or an earlier call has failed."""
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
    """Yields a function write(scalars, iteration, flush=False), which writes a dict of numbers for TensorBoard.

    With `flush`, the numbers are in the file at once rather than within minutes. Numbers that are not finite are left
    out. If summaries cannot be written, for example because the disk is full, one warning says so, and nothing is
    written from then on: a training should not stop because of its summaries.

    Args:
        folder: the folder of the file.
        log: whether to write; with False, the function does nothing.
    """
    if not log:
        yield lambda scalars, iteration, flush=False: None
        return
    import tensorflow as tf  # not at the top: commands that only read a table do not need it

    # A compiled function takes a tenth of the time. Each file has its own, since its graph refers to the file.
    @tf.function(autograph=False)
    def compiled(scalars, iteration):
        for name, value in scalars.items():
            tf.summary.scalar(name, value, iteration)

    def write(scalars, iteration, flush=False):
        with np.errstate(over="ignore"):
            values = {name: np.float32(value) for name, value in scalars.items()}
        # As tensors, since the function would be traced again for each new float.
        tensors = {name: tf.constant(value) for name, value in values.items() if np.isfinite(value)}
        attempt(compiled, tensors, tf.constant(iteration, tf.int64))
        if flush:
            attempt(tf.summary.flush)

    attempt, opened = Dispensable(f"TensorBoard's summaries in {folder}"), contextlib.ExitStack()
    attempt(lambda: opened.enter_context(tf.summary.create_file_writer(str(folder)).as_default()))
    try:
        yield write
    finally:
        attempt(opened.close)  # closing writes what is left


class Contents(NamedTuple):
    """The readable part of a table.

    rows: dicts of column -> text, "" where there is no number.
    damaged: whether the file has rows that cannot be read, another delimiter than a comma, or other columns.
    half: whether the file ends in an incomplete row.
    cut: whether the last of the rows lacks its line's end, so that its last number may lack digits.
    """

    rows: list[dict[str, str]]
    damaged: bool
    half: bool = False
    cut: bool = False

    @property
    def certain(self) -> list[dict[str, str]]:
        """The rows without the last one if it is cut."""
        return self.rows[:-1] if self.cut else self.rows


class Table:
    """The table of one run. If it cannot be written, a warning is printed, and the run continues without it.

    Args:
        path: path of the file, in an existing folder.
        columns: names of the metrics of an iteration. The first column, "iteration", is added to them.
        digits: significant digits of each number; None for all.
    """

    def __init__(self, path: str | Path, columns: Iterable[str], digits: int | None = None):
        self.path, self._digits = Path(path), digits
        self.columns = (ITERATION, *columns)
        self._attempt = Dispensable(self.path)

    def begin(self, iteration: int) -> list[dict[str, str]]:
        """Drops the rows of this iteration and later ones, which the run will compute again.

        A damaged file is renamed to <name>.damaged1 or the next free name; the rows that can be read are kept.

        Args:
            iteration: the iteration at which the run starts.

        Returns:
            The rows kept, dicts of column -> text.
        """
        try:
            found = read(self.path, self.columns)
            if iteration and not self.path.stat().st_size:  # its rows are lost
                found = Contents([], damaged=True)
        except FileNotFoundError:
            found = Contents([], damaged=False)
        except OSError:  # for example, a folder has that name
            found = Contents([], damaged=True)
        kept = [row for row in found.certain if int(row[ITERATION]) < iteration]
        self._attempt(self._replace, kept, found.damaged)
        return kept

    def rows(self) -> list[dict[str, str]]:
        """The rows that can be read, dicts of column -> text; an empty list if the file cannot be opened."""
        try:
            return read(self.path, self.columns).certain
        except OSError:
            return []

    def add(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Adds the row of an iteration; missing metrics stay empty, and metrics without a column are left out."""
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
                flush(part)  # before the old file is renamed
                aside = self.path.rename(free_name(self.path, "damaged"))
                print(f"{self.path} was damaged: it is now {aside.name}, and the rows that can be read are kept")

    def _append(self, row):
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)


def read(path: str | Path, columns: Sequence[str]) -> Contents:
    """Reads the readable rows of a table that a spreadsheet, a killed process or a bad disk may have changed.

    An incomplete row at the end, which a killed process may have left, does not count as damage.

    Args:
        path: path of the file.
        columns: columns of the table, "iteration" first. Columns that the file lacks are "" in all rows.

    Raises:
        OSError: the file cannot be read.
    """
    data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    # Line by line: a csv reader of the whole file would take everything after a stray quotation mark as one cell.
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
    cut = bool(rows) and not data.endswith((b"\n", b"\r"))
    half = cut and rows[-1] is None
    whole = [row for row in rows if row is not None]
    damaged = len(whole) + half < len(rows) or delimiter != "," or not set(header) <= set(columns)
    return Contents(whole, damaged, half, cut and not half)


@contextlib.contextmanager
def rows(path: Path) -> Iterator[list[dict[str, str]]]:
    """Yields the rows of a csv as dicts.

    Raises:
        UserError: the file cannot be read, or the `with` block raises an error because of unexpected contents.
    """
    with reading(path, "run the row again"), open(path, newline="", encoding="utf-8") as file:
        yield list(csv.DictReader(file))


def _places(names, columns):
    """Returns the place of each column, found by its name.

    If there are as many names as usual, more than half of them are known, and these are in their usual places, the
    other columns are taken to be in their usual places too.
    """
    places = {column: names.index(column) for column in columns if column in names}
    usual = _usual(columns)
    in_usual_places = len(names) == len(columns) and all(usual[column] == i for column, i in places.items())
    return usual if in_usual_places and 2 * len(places) > len(columns) else places


def _usual(columns):
    return {column: i for i, column in enumerate(columns)}


def _row(cells, width, columns, places, delimiter):
    """Returns the cells as a row, or None if they are not a complete row of numbers."""
    if len(cells) != width:
        return None
    if delimiter == ";":  # then the decimal separator is a comma
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
