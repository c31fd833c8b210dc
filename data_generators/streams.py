"""Gives the tasks of a source, one meta-batch after another, as a tf.data.Dataset or as a keras.utils.PyDataset.

Both give ((support_x, support_y), (query_x, query_y)) of the tasks that
`source.sample(seed, split, iteration, num_tasks)` draws, for iteration = first, first + 1, ... The functions are
methods of every source that has them as attributes:

    class MyTasks:  # a TaskSource
        dataset, sequence = streams.dataset, streams.sequence

TensorFlow and Keras are imported only when one of them is called.
"""

from typing import TYPE_CHECKING, Any

from data_generators.errors import UserError
from data_generators.tasks import Tasks, TaskSource, part_of

if TYPE_CHECKING:
    import tensorflow as tf

    from data_generators.task_sequence import TaskSequence

EVALUATION_TASKS = 600  # as many as the paper evaluates on
_AHEAD = 2  # meta-batches that are drawn in advance while one is used


def dataset(
    source: TaskSource, split: str, num_tasks: int, seed: int = 0, first: int = 0, stop: int | None = None
) -> "tf.data.Dataset":
    """Meta-batches as a tf.data.Dataset, which draws the next ones while one is used.

    Args:
        source: TaskSource.
        split: "train", "val" or "test".
        num_tasks: number of tasks in a meta-batch.
        seed: seed of the run.
        first: iteration of the first meta-batch; a resumed run gives the number of iterations already done.
        stop: iteration before which to end; by default, "train" never ends, the others once they have 600 tasks.

    Returns:
        Dataset of ((support_x, support_y), (query_x, query_y)), tensors [num_tasks, examples, ...] of static shapes.

    Raises:
        UserError: num_tasks is less than 1, or the source has no such split.

    Example:
        >>> from data_generators.sinusoid import Sinusoid
        >>> (support_x, support_y), (query_x, query_y) = next(iter(Sinusoid(10).dataset("train", num_tasks=25)))
        >>> support_x.shape
        TensorShape([25, 10, 1])
    """
    import tensorflow as tf

    stop = _stop(split, num_tasks, stop)
    iterations = tf.data.Dataset.counter(first)
    if stop is not None:
        iterations = iterations.take(max(stop - first, 0))
    if source.in_graph:
        # Not converted, because AutoGraph would turn a UserError into another kind of error.
        in_graph = tf.autograph.experimental.do_not_convert(lambda i: pairs(source.sample(seed, split, i, num_tasks)))
        return iterations.map(in_graph).prefetch(_AHEAD)
    # One task is drawn to find the structure, the types and the shapes.
    example = pairs(part_of(source, seed, split, first, num_tasks, (0, 1)))
    specs = [tf.TensorSpec([num_tasks, *value.shape[1:]], value.dtype) for value in tf.nest.flatten(example)]

    def draw(i):
        return tf.nest.flatten(pairs(source.sample(seed, split, int(i), num_tasks)))

    def drawn(i):
        values = tf.numpy_function(draw, [i], [spec.dtype for spec in specs])
        values = [tf.ensure_shape(value, spec.shape) for value, spec in zip(values, specs, strict=True)]
        return tf.nest.pack_sequence_as(example, values)

    return iterations.map(drawn).prefetch(_AHEAD)


def sequence(
    source: TaskSource, split: str, num_tasks: int, seed: int = 0, first: int = 0, stop: int | None = None
) -> "TaskSequence":
    """Meta-batches of NumPy arrays as a keras.utils.PyDataset; arguments and errors as for `dataset`.

    Example:
        >>> from data_generators.sinusoid import Sinusoid
        >>> batches = Sinusoid(10).sequence("val", num_tasks=25)
        >>> len(batches)
        24
        >>> (support_x, support_y), (query_x, query_y) = batches[0]
        >>> support_x.shape
        (25, 10, 1)
    """
    from data_generators.task_sequence import TaskSequence

    return TaskSequence(source, split, num_tasks, seed, first, _stop(split, num_tasks, stop))


def pairs(tasks: Tasks) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """((support_x, support_y), (query_x, query_y)): the form (inputs, targets) that Keras's loops use."""
    return (tasks.support_x, tasks.support_y), (tasks.query_x, tasks.query_y)


def _stop(split, num_tasks, stop):
    if num_tasks < 1:
        raise UserError(f"num_tasks must be at least 1, but is {num_tasks}")
    return -(-EVALUATION_TASKS // num_tasks) if stop is None and split != "train" else stop
