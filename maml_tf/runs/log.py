"""TensorBoard summaries of a run."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from maml_tf.runs.table import Dispensable


@contextlib.contextmanager
def summaries(folder: str | Path, log: bool = True) -> Iterator[Callable[..., None]]:
    """A function write(scalars, iteration, flush=False) of numbers by name; without `log`, one that writes nothing.

    With `flush` they are in the file at once rather than within minutes. Numbers that are not finite are left out.
    Where summaries cannot be written, for want of room on the disk perhaps, one warning says so, and nothing is written
    from then on: no training should end for its summaries.
    """
    writer = _Writer(folder) if log else None
    try:
        yield writer.write if log else lambda scalars, iteration, flush=False: None
    finally:
        if log:
            writer.close()


class _Writer:
    def __init__(self, folder):
        self._entered = contextlib.ExitStack()
        self._attempt = Dispensable(f"TensorBoard's summaries in {folder}")
        # Compiled takes a tenth of the time; and anew for each writer, since the graph holds on to it.
        self._compiled = tf.function(_write, autograph=False)
        self._attempt(lambda: self._entered.enter_context(tf.summary.create_file_writer(str(folder)).as_default()))

    def write(self, scalars, iteration, flush=False):
        with np.errstate(over="ignore"):
            values = {name: np.float32(value) for name, value in scalars.items()}
        # As tensors, since a float would be traced.
        tensors = {name: tf.constant(value) for name, value in values.items() if np.isfinite(value)}
        self._attempt(self._compiled, tensors, tf.constant(iteration, tf.int64))
        if flush:
            self._attempt(tf.summary.flush)

    def close(self):
        self._attempt(self._entered.close)  # which writes what is left


def _write(scalars, iteration):
    for name, value in scalars.items():
        tf.summary.scalar(name, value, iteration)
