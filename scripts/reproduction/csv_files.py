"""Reads back the csv files in which runs have left their figures."""

import csv
from pathlib import Path

from data_generators.errors import UserError


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a csv as dicts.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise UserError(f"the figures in {path} cannot be read ({error}): run the row again") from error
