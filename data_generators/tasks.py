"""The form of few-shot tasks, and of the sources that draw them; shared by every domain."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from data_generators.errors import UserError


class Tasks(NamedTuple):
    """A batch of few-shot tasks; every array has the task as its leading axis.

    support_x: [tasks, support, ...] inputs to adapt on.
    support_y: [tasks, support, outputs] their targets: regression values, or one-hot labels.
    query_x: [tasks, query, ...] inputs to evaluate on after adaptation.
    query_y: [tasks, query, outputs] their targets.

    Example:
        >>> x = np.zeros((25, 20, 1))  # 25 tasks of 10 examples to adapt on and 10 to be measured on
        >>> Tasks(x[:, :10], np.sin(x[:, :10]), x[:, 10:], np.sin(x[:, 10:])).query_y.shape
        (25, 10, 1)
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any


def by_size(tasks: Iterable[Tasks]) -> list[Tasks]:
    """Groups tasks into batches by their number of examples, which must be the same within a batch.

    Args:
        tasks: single tasks, or tuples of their four values, without the task axis: support_x [support, ...] and so on.
            The values are arrays, nested numbers, or dicts and tuples of arrays if a model has several inputs.

    Returns:
        List of Tasks of arrays with the task axis, one for each size, in the order in which the sizes first appear;
        tasks of one size keep their order.

    Example:
        >>> one, five = np.zeros((1, 2)), np.zeros((5, 2))
        >>> batches = by_size([Tasks(one, one, five, five), Tasks(five, five, five, five), Tasks(one, one, five, five)])
        >>> [batch.support_x.shape for batch in batches]
        [(2, 1, 2), (1, 5, 2)]
    """
    groups: dict[Any, list[Tasks]] = {}
    for task in (Tasks(*task) for task in tasks):
        groups.setdefault(repr(structured(np.shape, task)), []).append(task)
    return [structured(lambda *values: np.stack(values), *group) for group in groups.values()]


def structured(function: Callable, first: Any, *others: Any) -> Any:
    """Applies a function to the arrays at the same place of several structures; returns the structure of the results.

    Args:
        function: function of as many arrays as there are structures.
        first, others: structures: an array or nested numbers; or a dict or tuple of arrays, or a list of arrays of
            different shapes.
    """
    if isinstance(first, dict):
        return {key: structured(function, *(value[key] for value in (first, *others))) for key in first}
    if isinstance(first, tuple) or (isinstance(first, list) and _holds_several(first)):
        items = [structured(function, *values) for values in zip(first, *others, strict=True)]
        return type(first)(*items) if isinstance(first, Tasks) else tuple(items)
    return function(first, *others)


def _holds_several(values):
    """Whether a list holds several arrays, which differ in shape, and not the rows of one array."""
    shapes = {tuple(value.shape) if hasattr(value, "shape") else None for value in values}
    return len(shapes) > 1 and None not in shapes


def refuse_ragged(tasks: Tasks) -> None:
    """Raises UserError where tasks are listed one by one and differ in their number of examples."""
    for name, value in tasks._asdict().items():
        if _is_ragged(value):
            raise UserError(
                f"{name} has tasks with different numbers of examples: make batches of one size each by "
                "maml_tf.by_size(tasks), and give one at a time"
            )


def _is_ragged(value):
    if hasattr(value, "row_splits"):  # a tf.RaggedTensor
        return True
    if not isinstance(value, list | tuple) and not (isinstance(value, np.ndarray) and value.dtype == object):
        return False
    # Several inputs may be listed too, but all of them have the same number of tasks: their first axes do not differ.
    shapes = [tuple(v.shape) if hasattr(v, "shape") else (len(v),) for v in value if hasattr(v, "__len__")]
    return len({shape[:1] for shape in shapes}) > 1 and len({shape[1:] for shape in shapes}) == 1


class TaskSource(Protocol):
    """Draws tasks by `sample`, a pure function of its arguments; resuming, workers and tests rely on this."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    @property
    def output_size(self) -> int:
        """Number of values that a model predicts for one input."""

    @property
    def in_graph(self) -> bool:
        """Whether `sample` is TensorFlow code that can run in a compiled loop; otherwise it returns NumPy arrays."""

    def sample(
        self, seed: int, split: str, iteration: int, num_tasks: int, part: tuple[int, int] | None = None
    ) -> Tasks:
        """Draws meta-batch `iteration`.

        Args:
            seed: seed of the run.
            split: "train", "val" or "test".
            iteration: index of the meta-batch, from 0.
            num_tasks: number of tasks in the whole meta-batch.
            part: (first, size), a worker's share of the meta-batch; default: all of it.
        """


def part_of(source: TaskSource, seed: int, split: str, iteration: int, num_tasks: int, part: tuple[int, int]) -> Tasks:
    """Draws part (first, size) of a meta-batch; of a user's source whose `sample` takes no `part`, it is cut out."""
    if "part" in inspect.signature(source.sample).parameters:
        return source.sample(seed, split, iteration, num_tasks, part=part)
    import tensorflow as tf  # not at the top: sources of NumPy arrays need none

    first, size = part
    whole = source.sample(seed, split, iteration, num_tasks)
    return tf.nest.map_structure(lambda values: values[first : first + size], whole)
