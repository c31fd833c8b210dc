"""Gradient checkpointing: the derivative of a function computes the function anew instead of keeping activations.

The derivative of an inner update needs the activations of its forward and backward pass. The activations of all updates
are most of the memory of a meta-step. As in Chen et al. 2016, arXiv 1604.06174, only the inputs of a part of the
computation are kept, and the part is computed once more when its derivative is needed.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

from data_generators.errors import UserError
from maml_tf.backend import tf
from maml_tf.checks import with_mask_of
from maml_tf.graphs import with_bodies

# Operations that draw different numbers each time they run. Keras's layers draw from seeds, which are tensors, and so
# repeat.
_DRAWS = re.compile("(Parameterized)?TruncatedNormal|Random|Multinomial|Rng|Stateful(?!PartitionedCall)")


def recomputed(function: Callable) -> Callable:
    """Returns a function with the same values and derivatives, whose activations do not stay in memory.

    A derivative by the tensors among its arguments computes the function once more. A derivative by tensors in its
    closure is right too, but keeps the activations.

    Args:
        function: function of structures of tensors and of other values, which returns a structure of tensors.

    Returns:
        A function of the same arguments and results.

    Raises:
        UserError: the function is called in a graph and draws random numbers that would differ the second time.

    Example:
        >>> x = tf.constant(3.0)
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = recomputed(tf.square)(x)
        >>> float(y), float(tape.gradient(y, x))
        (9.0, 6.0)
    """

    def run(*args):
        given = tf.nest.flatten(args)
        smooth, others = _places(given, _is_floating), _places(given, _is_integer)

        def call(floats, integers):
            values = _replaced(_replaced(given, smooth, floats), others, integers)
            return function(*tf.nest.pack_sequence_as(args, values))

        @tf.custom_gradient
        def linked(*tensors):
            """Returns the results, the first tensors, unchanged; adds their derivative by the inputs, the others."""
            results, inputs = tensors[: len(places)], tensors[len(places) :]

            def gradient(*of_results):
                floats, integers = _when_known(of_results, inputs, _at(given, others))
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(floats)
                    anew = _at(tf.nest.flatten(call(floats, integers)), places)
                zero = tf.UnconnectedGradients.ZERO
                return *of_results, *tape.gradient(anew, floats, of_results, unconnected_gradients=zero)

            return list(results), gradient

        with _refusing_to_draw():
            results = call(list(map(tf.stop_gradient, _at(given, smooth))), _at(given, others))
        flat = tf.nest.flatten(results)
        places = _places(flat, _is_floating)
        found = _replaced(flat, places, linked(*_at(flat, places), *_at(given, smooth)))
        return tf.nest.pack_sequence_as(results, list(map(with_mask_of, flat, found)))

    return run


def _when_known(gradients, *groups):
    """Returns groups of tensors unchanged, but nothing can be computed from them until the gradients are known.

    Otherwise TensorFlow or XLA would find out that the same has been computed before, and keep that. Both look through
    an identity, and XLA also through control dependencies.
    """
    firsts = tf.concat([tf.cast(tf.reshape(g, [-1])[:1], tf.float32) for g in gradients], 0)
    is_any = tf.reduce_all((firsts > 0) | (firsts <= 0) | tf.math.is_nan(firsts))
    return [[tf.where(is_any, tensor, tf.zeros_like(tensor)) for tensor in group] for group in groups]


@contextlib.contextmanager
def _refusing_to_draw() -> Iterator[None]:
    """Raises UserError if operations that are added to the graph within it draw different numbers each time."""
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    before = len(graph.get_operations()) if graph else 0
    yield
    for op in graph.get_operations()[before:] if graph else ():
        for inner in with_bodies(op):
            if inner.op_def.is_stateful and _DRAWS.match(inner.type):
                raise UserError(
                    f"remat computes each update twice, but the model or its loss draws other numbers each time by "
                    f"{inner.type} ({inner.name}): draw them by keras.random with a SeedGenerator, or leave remat out"
                )


def _is_floating(value):
    return tf.is_tensor(value) and value.dtype.is_floating


def _is_integer(value):
    return tf.is_tensor(value) and value.dtype.is_integer


def _places(values, kind):
    return [i for i, value in enumerate(values) if kind(value)]


def _at(values, places):
    return [values[i] for i in places]


def _replaced(values, places, by):
    """Returns values with those at some places replaced."""
    others = dict(zip(places, by, strict=True))
    return [others.get(i, value) for i, value in enumerate(values)]
