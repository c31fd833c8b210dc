"""Reads back the csv files in which runs have left their figures."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_generators.files import reading


@contextmanager
def rows(path: Path) -> Iterator[list[dict[str, str]]]:
    """Gives the rows of a csv as dicts.

    Raises:
        UserError: it cannot be read, or is not what its reader expects; also in place of what goes wrong while this is
            entered.
    """
    with reading(path, "run the row again"), open(path, newline="", encoding="utf-8") as file:
        yield list(csv.DictReader(file))
