"""Meta-batches as a keras.utils.PyDataset, for `fit` and `evaluate` of Keras."""

from typing import Any

import keras
import numpy as np

from data_generators.streams import pairs
from data_generators.tasks import TaskSource, part_of


class TaskSequence(keras.utils.PyDataset):
    """A sequence whose item i is always the meta-batch of iteration first + i; see `streams.sequence`.

    Args:
        source, split, num_tasks, seed, first: as for `streams.dataset`.
        stop: iteration before which to end; None never ends.
    """

    def __init__(self, source: TaskSource, split: str, num_tasks: int, seed: int, first: int, stop: int | None):
        super().__init__(max_queue_size=2)
        self._draw = lambda i: source.sample(seed, split, i, num_tasks)
        self._first = first
        self._num_batches = None if stop is None else max(stop - first, 0)
        part_of(source, seed, split, first, num_tasks, (0, 1))  # a missing split is refused now, not after an epoch

    @property
    def num_batches(self) -> int | None:
        """Number of meta-batches; None if they never end."""
        return self._num_batches

    def __len__(self) -> int:
        if self._num_batches is None:
            raise TypeError("the meta-batches never end: give steps_per_epoch")
        return self._num_batches

    def __getitem__(self, index: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        if index < 0 or (self._num_batches is not None and index >= self._num_batches):
            last = "" if self._num_batches is None else f", the last {self._num_batches - 1}"
            raise IndexError(f"there is no meta-batch {index}: the first is 0{last}")
        return keras.tree.map_structure(np.asarray, pairs(self._draw(self._first + index)))
