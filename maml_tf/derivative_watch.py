"""Watches TensorFlow differentiate a graph, and finds operations that lack a derivative which a gradient needs.

The check of second derivatives relies on TensorFlow's inner workings mainly here, so that a change in them shows in one
place.
"""

import contextlib
import functools
import re
import threading
from collections.abc import Iterator
from typing import NamedTuple

from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction
from tensorflow.python.framework import ops

from maml_tf.backend import keras, tf
from maml_tf.graphs import CALLS, function, functions, with_bodies

STOP = "StopGradient"
_PREVENT = "PreventGradient"
_FLAT = ("OnesLike", "ZerosLike")  # declared to have no derivative, correctly: it is zero
_MARK = re.compile(r".*\blayer\.(?P<layer>\d+)\.(_\d+)?/")  # greedy: finds the last mark, the innermost layer's
_registered_derivative = ops.get_gradient_function


class Site(NamedTuple):
    """An operation and the layer that it belongs to.

    layer: index of the innermost layer around the operation, -1 if there is none.
    operation: type of the operation.
    name: its name within that layer.
    """

    layer: int
    operation: str
    name: str


class Fault(NamedTuple):
    """What is wrong with an operation's derivative.

    raises: whether TensorFlow raises LookupError; otherwise it takes the derivative to be zero.
    order: order of the lowest derivative that needs the operation's derivative, 1 or 2.
    """

    raises: bool
    order: int


class Watch:
    """Replaces TensorFlow's look-up of derivatives, and records where there is none.

    TensorFlow looks up only the operations that a gradient flows through, also in the bodies of loops, branches and
    functions. An operation without a derivative counts as constant, so that the rest of the graph is checked too.

    Args:
        passing: sites whose `stop_gradient` lets the gradient pass.

    Attributes:
        faults: dict, Site -> Fault.
        stopped: set of the sites at which a second derivative meets a `stop_gradient`.
    """

    def __init__(self, passing: frozenset[Site] = frozenset()):
        self.faults, self.stopped = {}, set()
        self._passing = passing
        self._graph: tf.Graph | None = None
        self._forward = set()
        self._callers = {}  # graph of a function -> the operation that calls it

    @contextlib.contextmanager
    def forward_pass(self, layers: list[keras.layers.Layer]) -> Iterator[None]:
        """Context within which the forward pass is traced."""
        self._graph = tf.compat.v1.get_default_graph()
        with _marked(layers):
            yield
        self._forward = {op.name for op in self._graph.get_operations()}

    @contextlib.contextmanager
    def derivative(self, order: int) -> Iterator[None]:
        """Context within which TensorFlow computes the derivative of this order, in this thread."""
        thread = threading.get_ident()

        def look_up(op):
            return self._derivative(op, order) if threading.get_ident() == thread else _registered_derivative(op)

        ops.get_gradient_function = look_up
        try:
            yield
        finally:
            ops.get_gradient_function = _registered_derivative

    def suspects(self, weights: list[tf.Tensor]) -> bool:
        """Whether a second derivative by weights may be missing: a quick check that may give false alarms."""
        reached, suspects = {w.ref() for w in weights}, False
        for op in self._graph.get_operations():
            if any(t.ref() in reached for t in _differentiable(op.inputs)):
                reached.update(t.ref() for t in _differentiable(op.outputs))
                backward = op.name not in self._forward
                suspects = suspects or any(o.type == STOP or _lacks(o, backward) for o in with_bodies(op))
        return suspects

    def _derivative(self, op, order):
        if op.type in CALLS:
            return self._derivative_of_call(op)
        if op.type == STOP:
            if order == 2:
                self.stopped.add(self._site(op))
            return (lambda _, gradient: gradient) if self._site(op) in self._passing else None
        lacks = _lacks(op, order == 2 and self._is_backward(op))
        if lacks:
            self.faults.setdefault(self._site(op), Fault(lacks == "raises", order))
            return None
        return _registered_derivative(op)

    def _derivative_of_call(self, op):
        # Uses a copy: TensorFlow stores a function's derivative with the function, and a real call would find this one.
        called = function(op.graph, op.get_attr("f").name)
        self._callers[called.graph] = op
        attributes = called.cached_definition.attr
        return ConcreteFunction.from_func_graph(called.graph, called.function_type, attributes)._get_gradient_function()

    def _site(self, op):
        marks = (_MARK.search(around.name) for around in self._around(op))
        layer = next((int(mark["layer"]) for mark in marks if mark), -1)
        return Site(layer, op.type, re.sub(r"_\d+(?=/|$)", "", _MARK.sub("", op.name)))

    def _is_backward(self, op):
        *_, outermost = self._around(op)
        return outermost.name not in self._forward

    def _around(self, op):
        """Yields the operation, the operation whose body contains it, and so on outwards."""
        while op is not None:
            yield op
            graph = op.graph
            op = getattr(graph, "_while", None) or getattr(graph, "_forward_cond", None) or self._callers.get(graph)


@contextlib.contextmanager
def _marked(layers):
    """Within it, the name of an operation tells which layer's call made it.

    Keras's own name scopes do not: "dense_1" is a layer of that name, or the second call of "dense".
    """

    def marked(index, call):
        @functools.wraps(call)
        def in_scope(*args, **kwargs):
            with tf.name_scope(f"layer.{index}."):
                return call(*args, **kwargs)

        return in_scope

    own = [vars(layer).get("call") for layer in layers]
    for index, layer in enumerate(layers):
        vars(layer)["call"] = marked(index, layer.call)
    try:
        yield
    finally:
        for layer, call in zip(layers, own, strict=True):
            vars(layer).pop("call")
            if call is not None:
                vars(layer)["call"] = call


def _lacks(op, backward):
    """How an operation lacks a derivative that it should have: "raises", "is zero", or "" if it does not lack one.

    An operation that is declared to have no derivative matters only in the backward pass. In the forward pass the first
    derivative ignores it too, so the second derivative is that of what the user trains.
    """
    if not (_differentiable(op.inputs) and _differentiable(op.outputs)) or op.type in _FLAT or functions(op):
        return ""
    try:
        declared_to_have_none = _registered_derivative(op) is None
    except LookupError:
        return "raises"
    if op.type == _PREVENT:
        return "raises"
    return "is zero" if declared_to_have_none and backward and op.type != STOP else ""


def _differentiable(tensors):
    """The tensors that can carry a derivative; lists of tensors have the dtype variant."""
    return [t for t in tensors if t.dtype.is_floating or t.dtype.is_complex or t.dtype == tf.variant]
