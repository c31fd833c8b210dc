"""The operations of a graph, with those in the bodies of its loops, branches and calls."""

from collections.abc import Iterator
from typing import Any

from maml_tf.backend import tf

CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # of a tf.function, which may be the user's


def with_bodies(op: tf.Operation, calls: bool = True) -> Iterator[tf.Operation]:
    """An operation and, where it is a loop, a branch or a call, those of its bodies.

    Args:
        op: tf.Operation.
        calls: whether the bodies of calls count, too.
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
    """A function of a graph or of those around it."""
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
