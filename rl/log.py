"""What a run reports of each iteration: a row of `progress.csv` and scalars for TensorBoard."""

import math

import tensorflow as tf

from maml_tf.runs.log import Dispensable
from maml_tf.runs.table import Table

FILE = "progress.csv"


class ProgressLog:
    """The log of one run, which continues after an interruption as if there had been none.

    Where a file cannot be written, a warning is printed, and the run continues without it.

    Args:
        folder: of the run; exists.
        columns: names of the figures of an iteration; "iteration" is the first column without being named.
        tensorboard: whether to write summaries too.
    """

    def __init__(self, folder, columns, tensorboard=True):
        self._table = Table(folder / FILE, columns, digits=7)
        self._summaries = Summaries(folder) if tensorboard else None

    def begin(self, iteration):
        """Opens the log and drops rows from this iteration on, which are about to be computed again."""
        rows = len(self._table.begin(iteration))
        if rows < iteration:
            print(f"{self._table.path} holds {rows} of the {iteration} iterations so far; the others are lost")
        if self._summaries:
            self._summaries.begin()

    def write(self, iteration, figures):
        """Adds the figures of an iteration; those missing stay empty."""
        self._table.add(iteration, figures)
        if self._summaries:
            self._summaries.write(iteration, figures)

    def close(self):
        """Closes the files."""
        if self._summaries:
            self._summaries.close()


class Summaries:
    """Scalars for TensorBoard.

    Args:
        folder: of the run.
    """

    def __init__(self, folder):
        self._folder = str(folder)
        self._attempt = Dispensable(f"TensorBoard's summaries in {folder}")
        self._writer = None

    def begin(self):
        """Begins a file of events."""
        self._attempt(self._open)

    def write(self, iteration, figures):
        """Writes the finite ones of figures, a dict of numbers."""
        self._attempt(self._write, iteration, figures)

    def close(self):
        """Ends the file."""
        if self._writer:
            self._attempt(self._writer.close)
        self._writer = None

    def _open(self):
        self._writer = tf.summary.create_file_writer(self._folder)

    def _write(self, iteration, figures):
        with self._writer.as_default(step=iteration):
            for name, value in figures.items():
                if math.isfinite(value):
                    tf.summary.scalar(name, value)
        self._writer.flush()
