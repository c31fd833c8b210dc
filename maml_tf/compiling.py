"""Functions of tensors, compiled as one MAML needs them, each once."""

import functools
import weakref
from contextlib import nullcontext

import tensorflow as tf
from tensorflow.python.framework import ops

from maml_tf import layers
from maml_tf import task_axis as axis


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
        with layers.vectorizable() if self._jit or self._task_axis == axis.VECTORIZE else nullcontext():
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
