"""Finds a graph's operations, also in the bodies of its loops, branches and calls; frees what outlives a graph."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from maml_tf.backend import tf

CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # calls of a tf.function, which may be the user's


def with_bodies(op: tf.Operation, calls: bool = True) -> Iterator[tf.Operation]:
    """Yields an operation and, if it is a loop, a branch or a call, the operations of its bodies.

    Args:
        op: tf.Operation.
        calls: whether to include the bodies of calls.
    """
    yield op
    for function in functions(op) if calls or op.type not in CALLS else ():
        for inner in function.graph.get_operations():
            yield from with_bodies(inner, calls)


def functions(op: tf.Operation) -> list:
    """The functions that an operation calls."""
    values = [op.get_attr(name) for name in _attributes_of_functions(op.op_def)]
    names = [f.name for value in values for f in (value if isinstance(value, list) else [value])]
    return [f for f in (function(op.graph, name) for name in names) if f is not None]


def function(graph: Any, name: str) -> Any:
    """The function of this name in a graph or in the graphs around it; None if there is none."""
    while graph is not None:
        found = graph._get_function(name)
        if found is not None:
            return found
        graph = getattr(graph, "outer_graph", None)
    return None


_KNOWN: dict[str, tuple[str, ...]] = {}


def _attributes_of_functions(definition):
    if definition.name not in _KNOWN:
        kinds = {attribute.name: attribute.type for attribute in definition.attr}
        _KNOWN[definition.name] = tuple(name for name, kind in kinds.items() if "func" in kind)
    return _KNOWN[definition.name]


def traced(function: Callable, *specs: Any) -> Any:
    """Traces a function that will be called but not differentiated; specs: tf.TensorSpec of its arguments."""
    graph = tf.function(function, autograph=False).get_concrete_function(*specs)
    forget(own_gradients(graph.graph))
    return graph


def own_gradients(graph: tf.Graph) -> set[str]:
    """The names under which TensorFlow has registered derivatives that belong to this graph alone.

    TensorFlow keeps the derivative of every traced tf.custom_gradient, and the graph with it, until the process ends:
    33 MB for each MAML of Omniglot's network. Keras's optimizers have such derivatives too. Those in the body of a call
    are left out, since the call may be of a function that the user keeps.
    """
    every = (inner for op in graph.get_operations() for inner in with_bodies(op, calls=False))
    own = (op for op in every if op.type == "IdentityN")  # made by tf.custom_gradient
    names = (op.node_def.attr["_gradient_op_type"].s.decode() for op in own if "_gradient_op_type" in op.node_def.attr)
    return {name for name in names if name.startswith("CustomGradient-")}


def forget(gradients: Iterable[str]) -> None:
    """Removes derivatives that `own_gradients` found from TensorFlow's registry, once their graph is not needed."""
    from tensorflow.python.framework import ops  # private; imported after `backend` has chosen Keras's backend

    registered = getattr(ops.gradient_registry, "_registry", {})
    for name in gradients:
        registered.pop(name, None)
