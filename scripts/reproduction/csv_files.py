"""Reads back the csv files in which runs have left their figures."""

import csv
from pathlib import Path

from data_generators.files import reading


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a csv as dicts.

    Raises:
        UserError: it cannot be read.
    """
    with reading(path, "run the row again"), open(path, newline="") as file:
        return list(csv.DictReader(file))
