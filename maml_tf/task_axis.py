"""The seam between one task and a meta-batch: a function of one task, mapped or vectorised, and compiled."""

import functools
import weakref
from contextlib import nullcontext

import keras
import tensorflow as tf
from tensorflow.python.framework import ops

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


class Compiler:
    """Compiles functions, and remembers those that it is to call.

    Args:
        task_axis: MAP or VECTORIZE of `task_axis`.
        jit: whether to compile by XLA.
    """

    def __init__(self, task_axis, jit):
        self._task_axis = task_axis
        self._jit = jit
        self._known = {}
        self._gradients = set()
        weakref.finalize(self, _forget, self._gradients)

    def compiled(self, function, signature=None):
        """The function, compiled; anew for each kind of argument, unless a signature says what all are like."""
        # A partial of its own for each, since TensorFlow counts the tracings of one code as those of one function, and
        # warns of too many.
        traced = functools.partial(self._traced, function)
        # AutoGraph would double the time to trace; nothing here needs it, and a user's function that does may be a
        # tf.function of its own.
        return tf.function(traced, signature, jit_compile=self._jit or None, autograph=False)

    def call(self, key, function, *args):
        """Calls a function compiled once for each key."""
        if key not in self._known:
            self._known.setdefault(key, self.compiled(function))  # two threads may be here at once
        return self._known[key](*args)

    def call_as(self, key, function, args, specs):
        """As `call`, compiled once for each key and signature.

        Args:
            key, function: as for `call`.
            args: tuple of structures of tensors.
            specs: the same of tf.TensorSpec.
        """
        key = (key, str(specs))
        if key not in self._known:
            self._known.setdefault(key, self.compiled(function, specs))
        return self._known[key](*args)

    def _traced(self, function, *args):
        with layers.vectorizable() if self._jit or self._task_axis == VECTORIZE else nullcontext():
            results = function(*args)
        self._gradients |= _own_gradients(tf.compat.v1.get_default_graph())
        return results


def _own_gradients(graph):
    """The names under which TensorFlow has registered derivatives for one graph alone.

    It keeps that of every tf.custom_gradient that is traced, Keras's optimizers' among them, and with it the graph, for
    as long as the process runs: 4 MB for each MAML of a small network.
    """
    own = (op for op in graph.get_operations() if op.type == "IdentityN")  # which tf.custom_gradient makes
    names = (op.node_def.attr["_gradient_op_type"].s.decode() for op in own if "_gradient_op_type" in op.node_def.attr)
    return {name for name in names if name.startswith("CustomGradient-")}


def _forget(gradients):
    registered = getattr(ops.gradient_registry, "_registry", {})
    for name in gradients:
        registered.pop(name, None)
