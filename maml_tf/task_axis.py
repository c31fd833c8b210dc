"""The seam between one task and a meta-batch: a function of one task, mapped or vectorised over the leading axis."""

import keras
import tensorflow as tf

from maml_tf import layers
from maml_tf.pure_model import sublayers

MAP, VECTORIZE = "map", "vectorize"

# Dense networks of more weights are mapped on CPU: one task's weights fit into the caches, those of all tasks do not.
_MOST_WEIGHTS = 50_000

_VECTORIZES_WELL = (
    keras.Model,
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Flatten,
    keras.layers.ReLU,
    keras.layers.GlobalAveragePooling2D,
    layers.BatchNorm,
    layers.LayerNorm,
    layers.Conv2D,
    layers.MaxPool2x2,
)


def resolve(task_axis, jit, model):
    """Chooses how to run a model over tasks, and whether by XLA, where the caller leaves it open.

    "auto" maps without XLA, which any model can; vectorises with XLA small dense networks, and, where there is a GPU,
    all networks made of layers that vectorise; and maps with XLA large dense networks on CPU.

    Args:
        task_axis: "auto", "map" or "vectorize".
        jit: "auto", or a bool.
        model: the keras.Model.

    Returns:
        (MAP or VECTORIZE, whether to compile by XLA).
    """
    kinds = sublayers(model)
    well = all(isinstance(layer, _VECTORIZES_WELL) for layer in kinds)
    dense = well and not any(isinstance(layer, layers.Conv2D) for layer in kinds)
    gpu = bool(tf.config.list_logical_devices("GPU"))
    chosen = task_axis
    if task_axis == "auto":
        chosen = VECTORIZE if (well and gpu) or (dense and model.count_params() <= _MOST_WEIGHTS) else MAP
    if jit == "auto":
        jit = chosen == VECTORIZE or (dense and task_axis == "auto")
    return chosen, jit


def map_tasks(function, tasks, signature, how):
    """Applies `function` to every task and stacks the results.

    Args:
        function: one task's structure of tensors -> structure of tensors.
        tasks: the same structure with a leading task axis of static size.
        signature: structure of tf.TensorSpec of one task's results.
        how: MAP, a loop that runs as many tasks side by side as there are inter-op threads; or VECTORIZE, one batched
            graph.

    Returns:
        The results, each with a leading task axis.
    """
    if how == VECTORIZE:
        with layers.vectorizable():
            return tf.vectorized_map(_as_it_is(function), tasks, fallback_to_while_loop=False)
    return tf.map_fn(
        _as_it_is(function), tasks, fn_output_signature=signature, parallel_iterations=_parallel_iterations()
    )


def mean_over_tasks(function, tasks, signature, how):
    """The mean over tasks of a function's results, which must be floating point.

    With MAP the results are summed in the order of the tasks as they come, never stacked.

    Args and result as in `map_tasks`, without the task axis.
    """
    if how == VECTORIZE:
        return tf.nest.map_structure(lambda r: tf.reduce_mean(r, 0), map_tasks(function, tasks, signature, how))
    count = tf.nest.flatten(tasks)[0].shape[0]

    def add_one(i, total):
        results = function(tf.nest.map_structure(lambda t: tf.gather(t, i), tasks))
        return i + 1, tf.nest.map_structure(tf.add, total, results)

    zeros = tf.nest.map_structure(lambda s: tf.zeros(s.shape, s.dtype), signature)
    _, total = tf.while_loop(lambda i, *_: i < count, add_one, (0, zeros), parallel_iterations=_parallel_iterations())
    return tf.nest.map_structure(lambda t: t / count, total)


def _as_it_is(function):
    """Spares it AutoGraph, which would hide what kind of error it raises."""
    return tf.autograph.experimental.do_not_convert(function)


def _parallel_iterations():
    # One task per thread: more would only push the tasks' arrays out of the caches.
    return tf.config.threading.get_inter_op_parallelism_threads() or 2
