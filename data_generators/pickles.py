"""Reads pickles of arrays and plain values, without executing anything in them.

Python's own reader calls whatever a pickle names. This one never calls what a pickle names: it interprets the opcodes
(https://docs.python.org/3/library/pickletools.html) and builds NumPy arrays, lists, tuples, dicts, bytes, texts and
numbers itself. Anything else that a pickle asks for is an error that names it. Memory is allocated for data that exist,
never for a length that is only claimed: large values are views of the file, which is memory-mapped.

Strings of Python 2, which may be bytes, become text in Latin-1 if they are short, and views if they are long.
"""

import codecs
import functools
import mmap
import pickle  # for the names of its opcodes
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.pickled_arrays import KNOWN, VIEW_BYTES, Name, Pending, done, reduced

_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_NAMES = {opcode.code.encode("latin1"): opcode.name for opcode in pickletools.opcodes}
_RELEASE_BYTES = 1 << 28  # of a file, after which its memory is given back to the system
_MARK = object()


def load(path: str | Path) -> Any:
    """Reads a pickle; its large arrays are views of the file, which must not change while they are used.

    Args:
        path: path of the file.

    Returns:
        Arrays (read-only), lists, tuples, dicts, bytes (or views, as memoryview), texts, numbers, True, False and None.

    Raises:
        UserError: it is damaged, or asks for anything else.
    """
    with reading(path), open(path, "rb") as file:
        if not file.seek(0, 2):
            raise EOFError("it is empty")
        contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return loads(contents, str(path))


def release(value: Any) -> None:
    """Gives back to the system the memory of the mapped file that an array or memoryview is a view of."""
    while value is not None and not isinstance(value, mmap.mmap):
        value = value.obj if isinstance(value, memoryview) else getattr(value, "base", None)
    if value is not None and hasattr(mmap, "MADV_DONTNEED"):
        value.madvise(mmap.MADV_DONTNEED)


def loads(contents: bytes | mmap.mmap, where: str) -> Any:
    """As `load`, for a pickle in memory; `where` is its name, for errors."""
    with reading(where):
        return _Reader(contents, where).read()


class _Reader:
    """The machine that interprets a pickle: a stack, and a memo of values that the pickle may use again."""

    def __init__(self, contents, where: str):
        self._contents = contents
        self._view = memoryview(contents)
        self._length = len(self._view)
        self._where = where
        self._at, self._release_at = 0, _RELEASE_BYTES
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        contents, operations = self._contents, _OPERATIONS
        while self._at < self._length:
            code = contents[self._at]
            self._at += 1
            if code == _STOP:
                break
            operation = operations.get(code)
            if operation is None:
                name = _NAMES.get(bytes([code]))
                raise self._refusal(f"the opcode {name}") if name else ValueError("it is no pickle")
            operation(self)
        else:
            raise EOFError("its end is missing")
        if len(self._stack) != 1 or self._at != self._length:
            raise ValueError("its end is not where it must be")
        return done(self._stack[0])

    def _refusal(self, what: str) -> UserError:
        what = what.encode("unicode_escape").decode()[:100]
        return UserError(
            f"{self._where} is a pickle that asks for {what}, and only arrays, lists, tuples, dicts, texts and numbers "
            "are read: get the file elsewhere, or save its arrays with numpy.savez."
        )

    def _take(self, count: int) -> memoryview:
        start = self._at
        if count < 0 or start + count > self._length:
            raise EOFError(f"{count:,} bytes are announced where {self._length - start:,} are left")
        self._at = start + count
        return self._view[start : self._at]

    def count(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def line(self) -> bytes:
        end = self._contents.find(b"\n", self._at)
        if end < 0:
            raise EOFError("a line has no end")
        line = bytes(self._take(end - self._at))
        self._at += 1
        return line

    def text_of_line(self) -> str:
        return self.line().decode("utf-8")

    def _kept(self, count: int) -> bytes | memoryview:
        taken = self._take(count)
        if self._at > self._release_at:
            release(taken)
            self._release_at = self._at + _RELEASE_BYTES
        return taken if count >= VIEW_BYTES else bytes(taken)

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def marked(self) -> list[Any]:
        """The values since the last mark."""
        stack, place = self._stack, len(self._stack) - 1
        while stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        values = stack[place + 1 :]
        del stack[place:]
        return values

    def protocol(self) -> None:
        if (protocol := self.count(1)) > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"its protocol, {protocol}, is unknown")

    def frame(self) -> None:
        if self._length - self._at - 8 < self.count(8):  # the length of what follows
            raise EOFError("its end is missing")

    def number(self, form: str) -> None:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        self.push(value)

    def integer_line(self) -> None:
        line = self.line()
        self.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line.removesuffix(b"L")))

    def long(self, size: int) -> None:
        self.push(int.from_bytes(self._take(self.count(size)), "little", signed=True))

    def old_text(self, size: int) -> None:
        kept = self._kept(self.count(size))
        self.push(kept.decode("latin1") if isinstance(kept, bytes) else kept)

    def old_text_line(self) -> None:
        line = self.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise ValueError("a text has no quotes")
        self.push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))  # type: ignore[attr-defined]

    def text(self, size: int) -> None:
        self.push(str(self._take(self.count(size)), "utf-8", "surrogatepass"))

    def text_line(self) -> None:
        self.push(str(self.line(), "raw-unicode-escape"))

    def data(self, size: int) -> None:
        self.push(self._kept(self.count(size)))

    def tuple_of(self, count: int) -> None:
        self.push(tuple(done(self.pop()) for _ in range(count))[::-1])

    def dict_of(self, values: list[Any]) -> None:
        self.push({})
        self.set_items(values)

    def put(self, key: int) -> None:
        value = self.pop()
        self.push(value)
        self._memo[key] = value

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get(self, key: int) -> None:
        self.push(self._memo[key])

    def append(self, values: list[Any]) -> None:
        into = self._stack[-1]
        if type(into) is not list:
            raise TypeError("something is no list")
        into.extend(map(done, values))

    def set_items(self, values: list[Any]) -> None:
        into = self._stack[-1]
        if type(into) is not dict or len(values) % 2:
            raise TypeError("something is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes | int | float | None):  # other types may nest without end
                raise TypeError("a dict has a key that is neither text nor number")
            if key in into:
                raise ValueError(f"a dict has the key {str(key)[:40]!r} twice")
            into[key] = done(value)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("something else stands where a name must be")
        if (module, name) not in KNOWN:
            raise self._refusal(f"{module}.{name}")
        self.push(KNOWN[module, name])

    def name_of_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def reduce(self) -> None:
        arguments, what = self.pop(), self.pop()
        if type(what) is not Name or type(arguments) is not tuple:
            raise TypeError("something is called that cannot be called")
        self.push(reduced(what, *arguments))

    def build(self) -> None:
        state, what = self.pop(), self._stack[-1]
        if type(what) is not Pending or type(state) is not tuple:
            raise TypeError("something has a state that can have none")
        what.set_state(*state)


def _operations() -> dict[int, Callable[[_Reader], Any]]:
    """The function of each opcode, by its code."""
    found: dict[bytes, Callable[[_Reader], Any]] = {
        pickle.PROTO: lambda r: r.protocol(),
        pickle.FRAME: lambda r: r.frame(),
        pickle.MARK: lambda r: r.push(_MARK),
        pickle.POP: lambda r: r.pop(),
        pickle.POP_MARK: lambda r: r.marked(),
        pickle.NONE: lambda r: r.push(None),
        pickle.NEWTRUE: lambda r: r.push(True),
        pickle.NEWFALSE: lambda r: r.push(False),
        pickle.LONG1: lambda r: r.long(1),
        pickle.LONG4: lambda r: r.long(4),
        pickle.FLOAT: lambda r: r.push(float(r.line())),
        pickle.STRING: lambda r: r.old_text_line(),
        pickle.BINSTRING: lambda r: r.old_text(4),
        pickle.SHORT_BINSTRING: lambda r: r.old_text(1),
        pickle.UNICODE: lambda r: r.text_line(),
        pickle.SHORT_BINUNICODE: lambda r: r.text(1),
        pickle.BINUNICODE: lambda r: r.text(4),
        pickle.BINUNICODE8: lambda r: r.text(8),
        pickle.SHORT_BINBYTES: lambda r: r.data(1),
        pickle.BINBYTES: lambda r: r.data(4),
        pickle.EMPTY_LIST: lambda r: r.push([]),
        pickle.EMPTY_TUPLE: lambda r: r.push(()),
        pickle.EMPTY_DICT: lambda r: r.push({}),
        pickle.LIST: lambda r: r.push([done(value) for value in r.marked()]),
        pickle.TUPLE: lambda r: r.push(tuple(map(done, r.marked()))),
        pickle.DICT: lambda r: r.dict_of(r.marked()),
        pickle.APPEND: lambda r: r.append([r.pop()]),
        pickle.APPENDS: lambda r: r.append(r.marked()),
        pickle.SETITEM: lambda r: r.set_items([r.pop(), r.pop()][::-1]),
        pickle.SETITEMS: lambda r: r.set_items(r.marked()),
        pickle.PUT: lambda r: r.put(int(r.line())),
        pickle.BINPUT: lambda r: r.put(r.count(1)),
        pickle.LONG_BINPUT: lambda r: r.put(r.count(4)),
        pickle.MEMOIZE: lambda r: r.memoize(),
        pickle.GET: lambda r: r.get(int(r.line())),
        pickle.BINGET: lambda r: r.get(r.count(1)),
        pickle.LONG_BINGET: lambda r: r.get(r.count(4)),
        pickle.GLOBAL: lambda r: r.name(r.text_of_line(), r.text_of_line()),
        pickle.STACK_GLOBAL: lambda r: r.name_of_stack(),
        pickle.REDUCE: lambda r: r.reduce(),
        pickle.BUILD: lambda r: r.build(),
    }
    found |= dict.fromkeys((pickle.INT, pickle.LONG), _Reader.integer_line)
    found |= dict.fromkeys((pickle.BINBYTES8, pickle.BYTEARRAY8), functools.partial(_Reader.data, size=8))
    tuples = enumerate((pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), start=1)
    found |= {code: functools.partial(_Reader.tuple_of, count=count) for count, code in tuples}
    found |= {code: functools.partial(_Reader.number, form=form) for code, form in _NUMBERS.items()}
    return {code[0]: operation for code, operation in found.items()}


_OPERATIONS = _operations()
_STOP = pickle.STOP[0]
