"""Builds the arrays in pickles, without calling any of the functions and types that a pickle names."""

import math
import re
from typing import Any

import numpy as np

VIEW_BYTES = 1 << 10  # values of this length or more are not copied


class Name(str):
    """The name of a function or type that arrays need: it tells `reduced` what to build, and is never called."""


_ARRAY, _DTYPE, _BYTES = Name("numpy.ndarray"), Name("numpy.dtype"), Name("bytes")
_RECONSTRUCT, _FROM_BUFFER, _SCALAR = Name("_reconstruct"), Name("_frombuffer"), Name("scalar")
_ENCODE = Name("_codecs.encode")
KNOWN = {("numpy", "ndarray"): _ARRAY, ("numpy", "dtype"): _DTYPE, ("_codecs", "encode"): _ENCODE}
KNOWN |= {(module, "bytes"): _BYTES for module in ("builtins", "__builtin__")}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    KNOWN |= {(f"{_core}.multiarray", name): name for name in (_RECONSTRUCT, _SCALAR)}
    KNOWN |= {(f"{_core}.numeric", name): name for name in (_FROM_BUFFER,)}


class Pending:
    """An array, or the type of its elements, whose state comes later; a pickle may refer to it before.

    value: the array or type; None for an array without its state.
    kind: _ARRAY or _DTYPE.
    """

    __slots__ = ("kind", "value")

    def __init__(self, kind: Name, value: Any = None):
        self.kind = kind
        self.value = value

    def set_state(self, *state: Any) -> None:
        """Completes the array or type by its state; a state that NumPy would not write is an error."""
        if self.kind is _DTYPE:
            self.value = _with_order(self.value, *state)
        elif self.value is None:
            _, shape, dtype, in_columns, contents = state
            self.value = _array(contents, dtype, shape, in_columns)
        else:
            raise ValueError("an array has two states")


def as_bytes(value: Any) -> bytes | memoryview:
    """Converts a value to bytes, which Python 2 may have written as text.

    Raises:
        TypeError: it is neither bytes nor a text in Latin-1.
    """
    if isinstance(value, str):
        return value.encode("latin1")
    if isinstance(value, bytes | memoryview):
        return value
    raise TypeError("something else stands where bytes must be")


def as_text(value: Any) -> str:
    """Converts a value to text, which may have been written or read as bytes; TypeError if it is neither."""
    return value if isinstance(value, str) else bytes(as_bytes(value)).decode("latin1")


def done(value: Any) -> Any:
    """The finished value, to put into a list, tuple or dict, or to return; ValueError for an array without contents."""
    if type(value) is Pending:
        value = value.value
        if value is None:
            raise ValueError("an array has no contents")
    return value


def reduced(what: Name, *arguments: Any) -> Any:
    """Builds what a call of a function or type of `KNOWN` would return."""
    if what is _RECONSTRUCT:
        return Pending(_ARRAY)  # everything is in its state
    if what is _DTYPE:
        return Pending(_DTYPE, _dtype(arguments[0]))
    if what is _FROM_BUFFER:
        contents, dtype, shape, order = arguments
        return _array(contents, dtype, shape, order == "F")
    if what is _SCALAR:
        dtype, contents = arguments
        return _array(contents, dtype, (), False).item()
    if what is _ENCODE and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        contents = arguments[0].encode("latin1")
        return memoryview(contents) if len(contents) >= VIEW_BYTES else contents
    if what is _BYTES and not arguments:
        return b""
    raise ValueError(f"{what} is called with what it does not take")


def _dtype(text: Any) -> np.dtype:
    if not isinstance(text, str) or not re.fullmatch(r"[<>|=]?([biufSU]\d+|O8?|b1|\?)", text):
        raise ValueError("an array has elements that are neither numbers nor texts")
    return np.dtype(text)


def _with_order(dtype: np.dtype, version: Any, order: Any, *others: Any) -> np.dtype:
    if others[:3] != (None, None, None) or order not in ("<", ">", "|", "="):
        raise ValueError("an array has elements that are neither numbers nor texts")
    return dtype.newbyteorder(order)


def _array(contents: Any, dtype: Any, shape: Any, in_columns: Any) -> np.ndarray:
    """Builds an array from its state; an array of numbers is a view of the contents."""
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError("an array has no type or no shape")
    number = math.prod(shape)
    if dtype.hasobject:
        if type(contents) is not list or len(contents) != number:
            raise ValueError(f"{number:,} elements are announced, and there are others")
        flat = np.empty(number, object)
        for place, value in enumerate(contents):
            flat[place] = value
    else:
        flat = np.frombuffer(as_bytes(contents), dtype)
        if len(flat) != number:
            raise ValueError(f"{number:,} elements are announced, and there are {len(flat):,}")
    flat.flags.writeable = False
    return flat.reshape(shape, order="F" if in_columns else "C")
