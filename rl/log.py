"""What a run reports of each iteration: a row of `progress.csv` and scalars for TensorBoard."""

import csv
import math

import tensorflow as tf

from data_generators.errors import UserError

FILE = "progress.csv"


class ProgressLog:
    """The log of one run, which goes on after an interruption as if there had been none.

    Args:
        folder: of the run; exists.
        columns: names of the figures of an iteration; "iteration" is the first column without being named.
        tensorboard: whether to write summaries too.
    """

    def __init__(self, folder, columns, tensorboard=True):
        self.path = folder / FILE
        self.columns = ("iteration", *columns)
        self.tensorboard = tensorboard
        self._file = self._writer = None

    def begin(self, iteration):
        """Opens the log and drops rows from this iteration on, which are about to be computed again.

        Raises:
            UserError: the file cannot be written.
        """
        kept = [row for row in self._rows() if row["iteration"].isdigit() and int(row["iteration"]) < iteration]
        part = self.path.with_name(f"{FILE}.part")
        try:
            with open(part, "w", newline="") as file:
                writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(kept)
            part.replace(self.path)
            self._file = open(self.path, "a", newline="", buffering=1)  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise UserError(f"cannot write {self.path} ({error.strerror})") from error
        if self.tensorboard:
            self._writer = tf.summary.create_file_writer(str(self.path.parent))

    def write(self, iteration, figures):
        """Adds the figures of an iteration; those missing stay empty."""
        texts = (f"{figures[name]:.7g}" if name in figures else "" for name in self.columns[1:])
        csv.writer(self._file, lineterminator="\n").writerow([iteration, *texts])
        if self._writer:
            with self._writer.as_default(step=iteration):
                for name, value in figures.items():
                    if math.isfinite(value):
                        tf.summary.scalar(name, value)
            self._writer.flush()

    def close(self):
        """Closes the files."""
        if self._file:
            self._file.close()
        if self._writer:
            self._writer.close()
        self._file = self._writer = None

    def _rows(self):
        try:
            with open(self.path, newline="") as file:
                # A process that was killed may have left half a row.
                return [row for row in csv.DictReader(file) if row.get("iteration") and None not in row.values()]
        except (OSError, ValueError, csv.Error):
            return []
