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
        before = set(_REGISTERED)
        with layers.vectorizable() if self._jit or self._task_axis == axis.VECTORIZE else nullcontext():
            results = function(*args)
        self._gradients |= {name for name in _REGISTERED.keys() - before if name.startswith("CustomGradient-")}
        return results


# TensorFlow keeps the gradient of every tf.custom_gradient that is traced, Keras's optimizers' among them, and with it
# the graph, for as long as the process runs: 4 MB for each MAML of a small network.
_REGISTERED = getattr(ops.gradient_registry, "_registry", {})


def _forget(gradients):
    for name in gradients:
        _REGISTERED.pop(name, None)
