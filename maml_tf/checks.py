"""Checks what MAML is given, numbers and the shapes of tasks, before anything is computed."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from data_generators.errors import UserError
from data_generators.tasks import Tasks, refuse_ragged
from maml_tf.backend import tf

_ELEMENTWISE = {"Add", "AddV2", "Sub", "Mul", "RealDiv", "DivNoNan", "SquaredDifference", "Maximum", "Minimum", "Pow"}
_ELEMENTWISE |= {"Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr"}
_ELEMENTWISE |= {"Xlogy", "Xlog1py", "Xdivy", "Atan2", "FloorMod", "FloorDiv", "SelectV2", "MulNoNan"}


def count(value: Any, name: str, least: int) -> int:
    """Returns a count, such as a number of updates, as an int, whatever kind of integer it is.

    Raises:
        UserError: the value is not an integer, or is less than `least`.
    """
    try:
        value = operator.index(value)
    except TypeError:
        raise UserError(f"{name} must be an integer, not {value!r}") from None
    if value < least:
        raise UserError(f"{name} must be at least {least}, but is {value}")
    return value


def is_reptile(algorithm: str, **given: Any) -> bool:
    """Whether the algorithm is Reptile rather than MAML.

    Args:
        algorithm: "maml" or "reptile".
        given: arguments that only MAML has.

    Raises:
        UserError: the algorithm is neither; or Reptile is given an argument that only MAML has.
    """
    if algorithm not in ("maml", "reptile"):
        raise UserError(f"algorithm must be 'maml' or 'reptile', not {algorithm!r}")
    only_maml = [name for name, value in given.items() if value]
    if algorithm == "reptile" and only_maml:
        raise UserError(f"Reptile has no meta-gradient and adapts everything, so it takes no {only_maml[0]}")
    return algorithm == "reptile"


def tensors(value: Any, dtype: tf.DType, single: bool | None = None) -> Any:
    """Converts inputs or targets to tensors: floating-point numbers in the model's dtype, others as they are.

    Args:
        value: an array, nested numbers, or a dict, list or tuple of arrays where there are several inputs or outputs.
        dtype: dtype of the model.
        single: whether the model has one input or output, so that a list is one array; None where that is not known.
    """
    if isinstance(value, dict):
        return {name: tensors(item, dtype, single) for name, item in value.items()}
    if isinstance(value, list | tuple) and not single and any(map(_is_array, value)):
        return [tensors(item, dtype) for item in value]
    if hasattr(value, "row_splits"):
        raise UserError(
            "a tf.RaggedTensor has examples of different sizes: give a tensor of one size, such as value.to_tensor()"
        )
    tensor = _nested(value) if isinstance(value, float | list | tuple) else tf.convert_to_tensor(value)
    return tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor


def _nested(value):
    """Converts nested Python numbers to a tensor with all their digits; TensorFlow would round them to float32."""
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype != tf.float32 or not hasattr(tensor, "numpy"):
        return tensor
    array = np.asarray(value)
    return tf.constant(array) if array.dtype == np.float64 else tensor


def floats_as(value: Any, dtype: tf.DType) -> Any:
    """Casts the floating-point tensors of a structure to a dtype; keeps masks that Keras's layers gave them."""

    def cast(tensor):
        return with_mask_of(tensor, tf.cast(tensor, dtype) if tensor.dtype.is_floating else tensor)

    return tf.nest.map_structure(cast, value)


def mask_of(outputs: Any) -> Any:
    """The mask that Keras's layers gave to outputs, or None."""
    return getattr(outputs, "_keras_mask", None)


def with_mask_of(outputs: Any, found: Any) -> Any:
    """Gives what was made of outputs their mask, if they have one; returns it."""
    if mask_of(outputs) is not None:
        found._keras_mask = mask_of(outputs)
    return found


def arrays(value: Any) -> Any:
    """Prepares an argument of a compiled function: in a tuple or list, nested numbers become one tensor each.

    Otherwise TensorFlow would trace the function anew for each number.
    """
    if not isinstance(value, list | tuple):
        return value
    if isinstance(value, Tasks):
        refuse_ragged(value)
    nested = [isinstance(item, list | tuple) and not any(map(_is_array, item)) for item in value]
    return tuple(_nested(v) if is_nested else v for v, is_nested in zip(value, nested, strict=True))


def any_number(value: Any, specs: list[tf.TensorSpec] | None = None) -> Any:
    """The structure of tf.TensorSpec for any number of examples like the given ones.

    Args:
        value: structure of tensors [examples, ...].
        specs: as for `inputs`; an axis whose size the model leaves open is open here too.
    """
    given = tf.nest.flatten(value)
    found = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in given]
    for i, spec in enumerate(specs or []):
        if spec.shape.rank == found[i].shape.rank:
            found[i] = tf.TensorSpec([None, *spec.shape[1:]], found[i].dtype)
    return tf.nest.pack_sequence_as(value, found)


def specs(value: Any) -> Any:
    """The structure of tf.TensorSpec of a structure of tensors."""
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), value)


def of_one_task(value: Any) -> Any:
    """The structure of tf.TensorSpec of one task in a structure of tensors [tasks, ...]."""
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), value)


def _is_array(value):
    return bool(getattr(value, "shape", None)) or isinstance(value, dict)


def size(tensor: tf.Tensor, axis: int = 0) -> Any:
    """The size of an axis: an int, or a scalar tensor where a graph leaves it open."""
    known = tensor.shape[axis]
    return tf.shape(tensor)[axis] if known is None else known


def number_of(tasks: Tasks, queries: bool = True) -> Any:
    """Checks that the axes of tasks fit together, and returns the number of tasks as `size` does.

    Args:
        tasks: Tasks of tensors, or of structures of them.
        queries: whether the tasks must have queries.

    Raises:
        UserError: the axes do not fit together, or a support or query set is empty.
    """
    for name, value in tasks._asdict().items():
        for tensor in tf.nest.flatten(value):
            if tensor.shape.rank is None:
                how = "give the dataset an output_signature, or tf.ensure_shape in its map"
                raise UserError(f"the number of axes of {name} is not known: {how}")
            if tensor.shape.rank < 2:
                raise UserError(f"{name} must be [tasks, examples, ...], but its shape is {tensor.shape}")
    _same({name: _sizes(value, 0) for name, value in tasks._asdict().items()}, "tasks")
    _examples(tasks.support_x, tasks.support_y, "support_x", "support_y", axis=1)
    _same({name: _sizes(getattr(tasks, name), 1) for name in ("query_x", "query_y")}, "examples in a task")
    # Support and query may hold sequences of different lengths; targets may differ in shape only where inputs do.
    if not _alike("x", tasks, by_rank=True) or (_alike("x", tasks) and not _alike("y", tasks)):
        listed = ", ".join(f"{name} {_shapes(value)}" for name, value in tasks._asdict().items())
        raise UserError(f"the examples of support and query differ in shape: {listed}")
    if queries and 0 in _sizes(tasks.query_x, 1):
        raise UserError("the query is empty: each task needs at least one query example")
    return size(tf.nest.flatten(tasks)[0])


def refuse_single_task(support_x: Any, query_x: Any, specs: list[tf.TensorSpec] | None) -> None:
    """Refuses inputs [n, 1] if the model takes [examples, 1]: most likely one task without its task axis.

    They would count as n tasks of one example each, and that example as a number without its axis.

    Args:
        support_x, query_x: structures of tensors.
        specs: as for `inputs`.

    Raises:
        UserError: the model takes examples of one number, and all inputs have the shape [n, 1].
    """
    inputs = tf.nest.flatten([support_x, query_x])
    if specs and all(spec.shape[1:] == [1] for spec in specs) and all(x.shape[1:] == [1] for x in inputs):
        raise UserError(
            f"inputs of the shape {inputs[0].shape} are one task, or many of one example: give [tasks, examples, 1], "
            "for one task x[None], for tasks of one example x[:, None]"
        )


def _alike(name, tasks, by_rank=False):
    """Whether examples of support and query have the same shape, as far as it is known; by_rank: the same rank."""
    first, second = (tf.nest.flatten(getattr(tasks, f"{part}_{name}")) for part in ("support", "query"))
    shapes = [(a.shape[2:], b.shape[2:]) for a, b in zip(first, second, strict=False)]
    return all(a.rank == b.rank if by_rank else a.is_compatible_with(b) for a, b in shapes)


def _shapes(value):
    return " and ".join(str(t.shape) for t in tf.nest.flatten(value))


def support(x: Any, y: Any) -> None:
    """Raises UserError where a support set [examples, ...] is empty, or does not have one target for each input."""
    for name, value in (("x", x), ("y", y)):
        if any(tensor.shape.rank == 0 for tensor in tf.nest.flatten(value)):
            raise UserError(f"{name} must be [examples, ...], but is a single number")
    _examples(x, y, "x", "y", axis=0)


def _examples(x, y, name_x, name_y, axis):
    _same({name_x: _sizes(x, axis), name_y: _sizes(y, axis)}, "examples in a task" if axis else "examples")
    if 0 in _sizes(x, axis):
        raise UserError("the support is empty: adaptation needs at least one example")


def _sizes(value, axis):
    """The known sizes of an axis in a structure of tensors."""
    return {t.shape[axis] for t in tf.nest.flatten(value) if t.shape.rank is not None} - {None}


def _same(sizes, what):
    if len(set().union(*sizes.values())) > 1:
        listed = ", ".join(f"{name} {' and '.join(map(str, sorted(found)))}" for name, found in sizes.items())
        raise UserError(f"the number of {what} differs: {listed}")


def inputs(value: Any, specs: list[tf.TensorSpec] | None, name: str, axis: int = 1) -> None:
    """Raises UserError where inputs do not have the shapes that a model was built for.

    Args:
        value: structure of tensors.
        specs: list of tf.TensorSpec [examples, ...] of the model's inputs in the order of its structure, or None where
            they are not known.
        name: name of the inputs.
        axis: axis of the examples.
    """
    given = tf.nest.flatten(value)
    if specs is None:
        return
    if len(given) != len(specs):
        raise UserError(f"{name} holds {len(given)} arrays, but the model has {len(specs)} inputs")
    for tensor, spec in zip(given, specs, strict=True):
        if tensor.shape.rank is not None and tensor.shape.rank <= axis:
            whole = "[tasks, examples, ...]" if axis else "[examples, ...]"
            raise UserError(f"{name} must be {whole}, but its shape is {tensor.shape}")
        shape, wanted = tensor.shape[axis + 1 :], spec.shape[1:]
        # Keras itself adds or removes a last axis of size 1.
        if not any(
            shape.is_compatible_with(as_wanted) for as_wanted in (wanted, _with_last(wanted), _less_last(wanted))
        ):
            raise UserError(f"an example of {name} has the shape {shape}, but the model takes {wanted}")


def _with_last(shape):
    return shape.concatenate([1])


def _less_last(shape):
    return shape[:-1] if shape.rank and shape[-1] == 1 else shape


def refuse_outer_product(loss: Callable, outputs: Any, targets: Any) -> None:
    """Refuses a loss that broadcasts outputs [n, 1] and targets [n] to [n, n], comparing each target with every output.

    Leaving out the last axis of targets is an easy user error; the network would silently learn the mean of the
    targets.

    Raises:
        UserError: the loss broadcasts them in this way.
    """
    if not (tf.is_tensor(outputs) and tf.is_tensor(targets)):
        return
    ranks = outputs.shape.rank, targets.shape.rank
    if None in ranks or ranks[0] == ranks[1]:
        return
    specs = [tf.TensorSpec([n or 7919 for n in t.shape], t.dtype) for t in (outputs, targets)]
    try:
        graph = tf.function(loss, autograph=False).get_concrete_function(*specs).graph
    except Exception:  # its real call fails too, with a better message
        return
    first, second = graph.inputs[:2]
    sources = {first.ref(): {"outputs"}, second.ref(): {"targets"}}
    for operation in graph.get_operations():  # each operation comes after its inputs
        found = [sources.get(tensor.ref(), set()) for tensor in operation.inputs]
        for tensor in operation.outputs:
            sources.setdefault(tensor.ref(), set().union(*found))
        if operation.type in _ELEMENTWISE and sorted(map(sorted, found)) == [["outputs"], ["targets"]]:
            shapes = [tensor.shape for tensor in operation.inputs]
            if operation.outputs[0].shape not in shapes:
                raise UserError(
                    f"targets of the shape {targets.shape} do not fit outputs of the shape {outputs.shape}: give both "
                    "the same axes, since the loss would compare each target with every output"
                )
