"""The file `gradient_cosine.csv` of a run: how near the first-order meta-gradient was to the true one, by iteration."""

import csv
from pathlib import Path

from data_generators.errors import UserError
from data_generators.files import DAMAGE, replacing

_HEADER = ["iteration", "cosine"]


class CosineLog:
    """Rows of iteration and cosine, to which a resumed run appends.

    Args:
        folder: of the run.
        iteration: where the run starts; what the file has of this iteration and later ones, which a killed run may
            have left, is dropped, since it comes again.

    Raises:
        UserError: a file of that name is not such a table.
    """

    NAME = "gradient_cosine.csv"

    def __init__(self, folder, iteration):
        self._path = Path(folder) / self.NAME
        self._rows = [row for row in self._read() if row[0] < iteration]

    @property
    def latest(self):
        """The latest cosine, or None."""
        return self._rows[-1][1] if self._rows else None

    def add(self, iteration, cosine):
        """Adds a row, and writes the file, in one piece.

        Raises:
            UserError: it cannot be written; the earlier one stays as it was.
        """
        self._rows.append((iteration, cosine))
        try:
            # It is written whole each time, and soon again, so that there is no need to wait for the disk.
            with replacing(self._path, durable=False) as part, open(part, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([_HEADER, *self._rows])
        except OSError as error:
            raise UserError(f"{self._path} cannot be written ({error.strerror})") from error

    def _read(self):
        try:
            with open(self._path, newline="", encoding="utf-8") as file:
                header, *rows = csv.reader(file)
            if header != _HEADER:
                raise ValueError(header)
            return [(int(iteration), float(cosine)) for iteration, cosine in rows]
        except FileNotFoundError:
            return []
        except DAMAGE as error:
            raise UserError(f"{self._path} is not a table of this run's cosines: move it elsewhere") from error
