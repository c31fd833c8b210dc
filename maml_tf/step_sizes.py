"""The step size of the inner loop, alpha, in the forms in which it can be meta-learned or given."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_generators.errors import UserError
from maml_tf.backend import keras, tf

PER_UPDATE, PER_WEIGHT = "per_update", "per_weight"
FORMS = (False, True, PER_UPDATE, PER_WEIGHT)


def checked(step_size: Any) -> Any:
    """Returns alpha as MAML is given it, with each of its numbers as a float.

    Raises:
        UserError: alpha has a value that is not a finite number, or is an array or a function.

    Example:
        >>> checked([np.float32(0.5), 1])
        [0.5, 1.0]
    """
    if isinstance(step_size, list | tuple):
        is_array = [not isinstance(size, list | tuple) and len(np.shape(size)) > 0 for size in step_size]
        return type(step_size)(s if array else checked(s) for s, array in zip(step_size, is_array, strict=True))
    if len(np.shape(step_size)):  # a variable in a graph has no np.ndim
        shape = tuple(np.shape(step_size))
        raise UserError(f"step_size must be a number, or a list with one for each variable, not an array of {shape}")
    is_number = isinstance(step_size, numbers.Real) and not isinstance(step_size, bool)
    unusable = step_size is None or isinstance(step_size, str | bool) or callable(step_size)
    if unusable or (is_number and not math.isfinite(step_size)):
        raise UserError(f"step_size must be a finite number, or a list with one for each variable, not {step_size!r}")
    return float(step_size) if is_number else step_size


def learned(
    form: bool | str, step_size: Any, adapted: Sequence[keras.Variable], num_updates: int
) -> list[keras.Variable]:
    """The variables of a meta-learned step size, each starting at `step_size`: one for each adapted variable.

    Args:
        form: False for none; True for a scalar (the paper mentions this option); "per_update" for [num_updates], one
            number for each inner update (LSLR of MAML++, Antoniou et al. 2019); "per_weight" for a tensor of the
            adapted variable's shape (Meta-SGD, Li et al. 2017).
        step_size: initial value; or a list of them, one for each adapted variable; or a tuple (low, high), between
            which each number is drawn uniformly, as in Meta-SGD; or a list of the variables themselves, which another
            MAML has made.
        adapted: the variables that the inner loop adapts.
        num_updates: inner updates of meta-training.

    Raises:
        UserError: there is no such form, or step_size does not fit it.
    """
    if form not in FORMS:
        raise UserError(f"learn_step_size must be False, True, 'per_update' or 'per_weight', not {form!r}")
    if not form and isinstance(step_size, tuple):
        raise UserError(f"a pair of step sizes is where learned ones start, so {step_size} needs learn_step_size")
    if isinstance(step_size, list) and len(step_size) != len(adapted):
        raise UserError(
            f"step_size has {len(step_size)} numbers, but {len(adapted)} variables adapt: give one for each"
            + (", or a tuple (low, high), between which to draw them" if form else "")
        )
    if not form:
        return []
    shapes: dict[bool | str, Callable] = {PER_UPDATE: lambda v: (num_updates,), PER_WEIGHT: lambda v: v.shape}
    shape = shapes.get(form, lambda v: ())
    if isinstance(step_size, list) and all(isinstance(size, keras.Variable) for size in step_size):
        if [tuple(size.shape) for size in step_size] != [tuple(shape(v)) for v in adapted]:
            raise UserError("the step sizes were made for other variables, or another num_updates: make them again")
        return step_size
    if isinstance(step_size, list):
        values = [tf.fill(shape(v), tf.constant(size, v.dtype)) for size, v in zip(step_size, adapted, strict=True)]
    elif isinstance(step_size, tuple):
        if not (len(step_size) == 2 and 0 < step_size[0] <= step_size[1]):
            raise UserError(f"a pair of step sizes must be (low, high), both positive, not {step_size}")
        low, high = step_size
        values = [keras.initializers.RandomUniform(low, high)(shape(v), v.dtype) for v in adapted]
    else:
        values = [tf.fill(shape(v), tf.constant(step_size, v.dtype)) for v in adapted]
    return [keras.Variable(value, dtype=v.dtype, name="step_size") for value, v in zip(values, adapted, strict=True)]


def as_adapt_takes(form: bool | str, sizes: list[tf.Tensor], num_updates: int) -> Any:
    """Meta-learned step sizes as `adapt` takes them; updates after those of training use the last update's.

    Args:
        form, num_updates: as for `learned`.
        sizes: values of the variables that `learned` made.
    """
    if form == PER_UPDATE:
        return lambda update: [size[tf.minimum(update, num_updates - 1)] for size in sizes]
    return sizes


def given(step_size: Any, num_updates: int, dtype: tf.DType) -> Any:
    """Converts a step size that a user gives to tensors for a compiled function.

    Args:
        step_size: a float or scalar; a list with one for each adapted variable; an array [num_updates] with one for
            each update; or None for that of training.
        num_updates: number of inner updates to make.
        dtype: dtype of the adapted variables; a float must not pass through float32.

    Raises:
        UserError: step_size is an array of another shape, or not of finite numbers.
    """
    shape = () if step_size is None or isinstance(step_size, list | tuple) else tuple(np.shape(step_size))
    if shape not in ((), (num_updates,)):
        raise UserError(f"step_size has the shape {shape}, but there are {num_updates} updates")
    if step_size is None:
        return None
    if not shape:
        return tf.nest.map_structure(lambda s: tf.constant(s, dtype) if isinstance(s, float) else s, checked(step_size))
    if tf.executing_eagerly():
        checked([float(size) for size in np.asarray(step_size)])
    return tf.cast(step_size, dtype)


def by_update(step_size: Any) -> Any:
    """Converts the result of `given` for `adapt`: a tensor [updates] becomes a function of the update's index."""
    if tf.is_tensor(step_size) and step_size.shape.rank == 1:
        return lambda update: step_size[update]
    return step_size


def as_config(step_size: Any) -> Any:
    """A step size for a file that does not tell lists from tuples: a list is in another list, a pair is not."""
    return [step_size] if isinstance(step_size, list) else step_size


def of_config(step_size: Any, form: bool | str | None) -> Any:
    """The step size that `as_config` described, where all lists are tuples; form: as for `learned`.

    Example:
        >>> of_config(((0.1, 0.2),), True), of_config((0.1, 0.2), True)
        ([0.1, 0.2], (0.1, 0.2))
    """
    if isinstance(step_size, tuple) and len(step_size) == 1 and isinstance(step_size[0], tuple):
        return list(step_size[0])
    return list(step_size) if isinstance(step_size, tuple) and not form else step_size  # of earlier versions
