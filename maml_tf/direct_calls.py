"""Calls of a compiled function past TensorFlow's own search for the graph that fits its arguments.

That search, in Python, takes a third of a small network's meta-step on a CPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from maml_tf.backend import tf

_NUMBERS = "biuf"  # kinds of NumPy's dtypes: bool, signed, unsigned, floating point


class Direct:
    """A function of tensors, compiled once for each kind of arguments, and then called without any search.

    A kind is what TensorFlow itself traces anew for: the types of the arguments, shapes and dtypes of their tensors.
    Whatever is not a tensor, an array or a tuple of such, and calls within another graph or a tf.distribute strategy,
    are left to TensorFlow.

    Args:
        compile: function without arguments -> the tf.function, anew each time, so that the graphs of each are of one
            kind.

    Example:
        >>> add = Direct(lambda: tf.function(lambda pair: pair[0] + pair[1], autograph=False))
        >>> for _ in range(2):
        ...     print(add((np.float32([1, 2]), tf.ones([2]))).numpy())
        [2. 3.]
        [2. 3.]
    """

    def __init__(self, compile: Callable[[], Callable]):
        self._compile = compile
        self._functions: dict[Any, Callable] = {}
        self._graphs: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> Any:
        """As the function itself."""
        if (found := _kind(args)) is None:
            return self._function(None)(*args)
        kind, tensors = found
        if graph := self._graphs.get(kind):
            return graph._call_flat(tensors, graph.captured_inputs)
        function = self._function(kind)
        results = function(*args)
        known = getattr(function, "_list_all_concrete_functions", list)()
        if len(known) == 1:
            self._graphs.setdefault(kind, known[0])
        return results

    def _function(self, kind):
        if kind not in self._functions:
            self._functions.setdefault(kind, self._compile())  # two threads may be here at once
        return self._functions[kind]


def _kind(args):
    """(what a graph depends on, the tensors in its order), or None where TensorFlow has to see for itself."""
    if not tf.executing_eagerly() or tf.config.functions_run_eagerly() or tf.distribute.has_strategy():
        return None
    kind, tensors = [], []
    for arg in args:
        items = arg if isinstance(arg, tuple) else (arg,)
        kind += [type(arg), len(items)]
        for item in items:
            if isinstance(item, np.ndarray) and item.dtype.kind in _NUMBERS:
                item = tf.constant(item)
            elif not isinstance(item, tf.Tensor):
                return None
            kind += [item.shape, item.dtype]
            tensors.append(item)
    return tuple(kind), tensors
