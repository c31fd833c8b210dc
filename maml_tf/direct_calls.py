"""Calls a compiled function without TensorFlow's own search for the graph that fits the arguments.

That search runs in Python and takes a third of a small network's meta-step on a CPU.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from maml_tf.backend import tf

_NUMBERS = "biuf"  # kinds of NumPy's dtypes: bool, signed, unsigned, floating point
_MANY = 10  # number of kinds of arguments at which the user is warned


class Direct:
    """A function of tensors, compiled once for each kind of arguments, and then called without any search.

    A kind is made of what TensorFlow itself traces anew for: the types of tuples, which arguments are None, and the
    shapes and dtypes of tensors and arrays. Calls with other arguments are left to TensorFlow, and so are calls within
    another graph or a tf.distribute strategy.

    Args:
        compile: function without arguments that returns a new tf.function, so that each tf.function has graphs of one
            kind only.

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
        """Calls the function."""
        items = _items(args)
        kind = _kind(args, items)
        if kind is None:
            return self._function(None)(*args)
        tensors = [item if isinstance(item, tf.Tensor) else tf.constant(item) for item in items]
        graph = self._graphs.get(kind)
        if graph is not None:
            return graph._call_flat(tensors, graph.captured_inputs)
        function = self._function(kind)
        results = function(*args)
        known = getattr(function, "_list_all_concrete_functions", list)()
        if len(known) == 1:
            self._graphs.setdefault(kind, known[0])
        return results

    def trace(self, *args: Any) -> None:
        """Compiles the function for arguments of this kind, without a call."""
        self._function(_kind(args, _items(args))).get_concrete_function(*args)

    def _function(self, kind):
        if kind not in self._functions:
            self._functions.setdefault(kind, self._compile())  # two threads may be here at once
            if len(self._functions) == _MANY:
                logging.getLogger(__name__).warning(
                    f"a step or a prediction has been compiled for {_MANY} different shapes of its tasks; each takes "
                    "seconds and stays in memory: use few numbers of tasks in a batch and of examples in a task"
                )
        return self._functions[kind]


def _items(args):
    """The tensors and arrays among the arguments, in the order of a graph's inputs."""
    items = [item for arg in args for item in (arg if isinstance(arg, tuple) else (arg,))]
    return [item for item in items if item is not None]


def _kind(args, items):
    """The kind of the arguments, or None where TensorFlow itself must find the graph."""
    if not tf.executing_eagerly() or tf.config.functions_run_eagerly() or tf.distribute.has_strategy():
        return None
    if not all(isinstance(item, tf.Tensor) or _is_array(item) for item in items):
        return None
    kind = [(type(arg), *(item is None for item in arg)) if isinstance(arg, tuple) else arg is None for arg in args]
    return (*kind, *((tuple(item.shape), item.dtype.name) for item in items))


def _is_array(item):
    return isinstance(item, np.ndarray | np.generic) and item.dtype.kind in _NUMBERS
