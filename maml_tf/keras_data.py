"""Converts batches of tasks to and from the forms that Keras's training loop uses."""

from collections.abc import Callable
from typing import Any

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import checks
from maml_tf.backend import keras, tf


def for_fit(x: Any, y: Any, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Converts x and y to the form that Keras's `fit` and `evaluate` take.

    Args:
        x, y: arguments of the user: the two pairs of a batch; or y is None, and x is data for `for_keras`.
        settings: the other arguments.

    Raises:
        UserError: x is missing, the axes of arrays do not fit together, or the settings have weights for tasks or
        classes.
    """
    for weights in ("sample_weight", "class_weight"):
        if settings.get(weights) is not None:
            raise UserError(f"MAML weighs all tasks alike: leave {weights} out, and let the loss weigh examples")
    if x is None:
        raise UserError("x is missing: give Tasks, or batches of ((support_x, support_y), (query_x, query_y))")
    return (for_keras(x, as_pairs), None) if y is None else as_pairs((x, y))


def for_keras(data: Any, form: Callable) -> Any:
    """Converts data to the form that Keras's `fit`, `evaluate` and `predict` take.

    Args:
        data: a tf.data.Dataset, a keras.utils.PyDataset or an iterator of batches; Tasks; or arrays.
        form: function that converts a batch to the form for Keras: `as_pairs` or `as_support_and_query`.
    """
    if isinstance(data, Tasks):
        return form(Tasks(*checks.arrays(data)))  # Keras takes no nested numbers
    if isinstance(data, keras.utils.PyDataset):
        return _Batches(data, form)
    return (form(batch) for batch in data) if hasattr(data, "__next__") else data


class _Batches(keras.utils.PyDataset):
    """A PyDataset with the batches of another one, each converted by `form`."""

    def __init__(self, of, form):
        super().__init__(of.workers, of.use_multiprocessing, of.max_queue_size)
        self._of, self._form = of, form

    def __getitem__(self, index):
        return self._form(self._of[index])

    @property
    def num_batches(self):
        return self._of.num_batches

    def on_epoch_begin(self):
        self._of.on_epoch_begin()

    def on_epoch_end(self):
        self._of.on_epoch_end()


def as_pairs(batch: Any) -> tuple:
    """Converts a batch that `as_tasks` takes to ((support_x, support_y), (query_x, query_y)); checks arrays."""
    support_x, support_y, query_x, query_y = tasks = as_tasks(batch)
    if all(hasattr(value, "shape") for value in tf.nest.flatten(tasks)):
        checks.number_of(checks.specs(tasks))
    return (support_x, support_y), (query_x, query_y)


def as_tasks(batch: Any) -> Tasks:
    """Converts a batch to Tasks.

    Args:
        batch: ((support_x, support_y), (query_x, query_y)) or Tasks. Keras may have wrapped it in a tuple of one, or
            have added None.

    Raises:
        UserError: the batch has another form.

    Example:
        >>> as_tasks((("x", "y"), ("query x", "query y"), None)).query_y
        'query y'
    """
    parts = _parts(batch)
    if len(parts) == 1:
        return as_tasks(parts[0])
    if any(isinstance(part, Tasks) for part in parts):
        raise UserError("a list of Tasks is no batch: maml_tf.by_size joins single tasks to batches")
    if len(parts) == 4:
        return Tasks(*parts)
    if [len(_parts(part)) for part in parts] == [2, 2]:
        return Tasks(*parts[0], *parts[1])
    raise UserError(f"a batch must be ((support_x, support_y), (query_x, query_y)) or Tasks, not {_shown(batch)}")


def as_support_and_query(batch: Any) -> tuple:
    """Converts a batch, with or without the targets of the queries, to ((support_x, support_y), query_x).

    Raises:
        UserError: the batch has another form.
    """
    parts = _parts(batch)
    if len(parts) == 1:
        return as_support_and_query(parts[0])
    if len(parts) == 4:
        return (parts[0], parts[1]), parts[2]
    if len(parts) != 2 or len(_parts(parts[0])) != 2:
        raise UserError(f"predict needs ((support_x, support_y), query_x), not {_shown(batch)}")
    support, query = parts
    try:
        tf.nest.assert_same_structure(support[0], query, check_types=False)
    except (TypeError, ValueError):
        query = query[0]
    return tuple(support), query


def _parts(batch):
    return [part for part in batch if part is not None] if isinstance(batch, tuple | list) else []


def _shown(batch):
    return str(tf.nest.map_structure(lambda value: getattr(value, "shape", value), batch))[:200]
