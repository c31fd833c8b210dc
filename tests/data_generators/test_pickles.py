"""Pickles are read without executing any of their code; anything but arrays and plain values is refused by name."""

import collections
import datetime
import os
import pickle
import struct
import sys

import numpy as np
import pytest

from data_generators import pickles
from data_generators.errors import UserError
from data_generators.pickled_arrays import as_bytes, as_text

VALUES = {
    "image_data": np.arange(60, dtype=np.uint8).reshape(5, 4, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "large": np.arange(4000, dtype=">i4").reshape(40, 100),
    "empty": np.zeros((0, 3), np.float32),
    "texts": np.array(["a", "bcd"]),
    "objects": np.array([b"png", [1, 2], None], object),
    "numbers": [0, -1, 255, 70_000, 10**30, 2.5, True, False, None, np.int64(7), np.float32(0.5)],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "bytes": [b"", b"short", b"long" * 1000],
    "text \u00e9": "caf\u00e9 " * 500,
    0: {"n01532829": [0, 1, 2], "n01558993": [3, 4]},
}


def same(found, expected):
    if isinstance(expected, np.ndarray):
        if expected.dtype == object:
            return found.shape == expected.shape and all(map(same, found, expected))
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, bytes):
        return bytes(found) == expected
    return found == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(VALUES, protocol))
    assert same(pickles.load(tmp_path / "a.pkl"), VALUES)


def _string(text):
    return b"T" + struct.pack("<i", len(text)) + text


def python2(array):
    """The pickle of an array as NumPy under Python 2 wrote it in protocol 2: the array's contents are a string."""
    numbers = b"".join(b"K" + bytes([n]) for n in array.shape)
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01b\x87q\x04Rq\x05"
    made += b"(K\x01(" + numbers + b"tq\x06cnumpy\ndtype\nq\x07U\x02u1K\x00K\x01\x87q\x08Rq\x09"
    return made + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + _string(array.tobytes()) + b"tb"


@pytest.mark.parametrize("shape", [(2, 3), (50, 4, 9)])
def test_arrays_and_texts_of_python_2(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    content = b"\x80\x02}q\x00(U\x04data" + python2(array) + b"U\x05names](U\x03\xe9toeu."
    read = pickles.loads(content, "a")
    assert np.array_equal(read["data"], array)
    assert read["names"] == ["\u00e9to"]


def test_large_arrays_are_views_of_the_file_and_cannot_be_written(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": np.zeros((1000, 84))}, 4))
    array = pickles.load(tmp_path / "a.pkl")["x"]
    assert not array.flags.writeable
    assert not array.flags.owndata


def test_bytes_and_texts_of_either_python():
    assert as_bytes("\x89PNG\xff") == b"\x89PNG\xff" == as_bytes(b"\x89PNG\xff")
    assert as_text(b"n\xe9") == "n\u00e9" == as_text("n\u00e9")
    for value in (3, None, [b"a"]):
        with pytest.raises(TypeError, match="must be"):
            as_bytes(value)


class Calls:
    """An object whose pickle is a function call."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class Stateful:
    """An object whose pickle has a state."""

    def __init__(self):
        self.a = 1


MARK = "os.environ.__setitem__('PICKLE_EXECUTED', 'yes')"
CALLS = {
    "os.system": (Calls(os.system, "touch executed"), f"{os.name}.system"),
    "eval": (Calls(eval, f"__import__('os') and {MARK}"), "eval"),
    "exec": (Calls(exec, "open('executed', 'w')"), "exec"),
    "getattr": (Calls(getattr, "a", "upper"), "getattr"),
    "open": (Calls(open, "executed", "w"), "open"),
    "numpy.load": (Calls(np.load, "a.npy"), "numpy.load"),
    "numpy.fromfile": (Calls(np.memmap, "a", "u1"), "numpy.memmap"),
    "numpy.testing": (Calls(np.testing.measure, "open('executed', 'w')"), "measure"),
    "object": (Stateful(), "Stateful|copy_reg._reconstructor"),
    "set": ({1, 2}, "EMPTY_SET|set"),
    "frozenset": (frozenset([1]), "FROZENSET|frozenset"),
    "ordered dict": (collections.OrderedDict(a=1), "collections.OrderedDict"),
    "date": (datetime.date(2017, 1, 1), "datetime.date"),
    "complex": (1j, "complex"),
    "class": (os.PathLike, "os.PathLike"),
    "records": (np.zeros(2, [("a", "i4")]), "neither numbers nor texts"),
    "dates": (np.array(["2017-01-01"], "M8[D]"), "neither numbers nor texts"),
    "matrix": (np.arange(4).reshape(2, 2).view(np.matrix), "matrix"),
}
OPCODES = {
    "GLOBAL": (b"cos\nsystem\n(S'touch executed'\ntR.", "os.system"),
    "GLOBAL of a nested name": (b"\x80\x04\x8c\x05numpy\x8c\x0cload.__doc__\x93.", "numpy.load.__doc__"),
    "STACK_GLOBAL": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch executed\x85R.", "os.system"),
    "names by the memo": (b"\x80\x04\x8c\x06system\x940\x8c\x02os\x94h\x01h\x00\x93\x8c\x01a\x85R.", "os.system"),
    "INST": (b"(S'touch executed'\nios\nsystem\n.", "INST"),
    "OBJ": (b"(cnumpy\nndarray\nK\x01o.", "OBJ"),
    "NEWOBJ": (b"\x80\x02cnumpy\nndarray\nK\x01\x85\x81.", "NEWOBJ"),
    "NEWOBJ_EX": (b"\x80\x04cnumpy\nndarray\n)}\x92.", "NEWOBJ_EX"),
    "EXT1": (b"\x80\x02\x82\x01.", "EXT1"),
    "EXT2": (b"\x80\x02\x83\x01\x00.", "EXT2"),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
    "PERSID": (b"Pwhere\n.", "PERSID"),
    "BINPERSID": (b"K\x01Q.", "BINPERSID"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "a name with a line break": (b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.", r"a\nb.c"),
}
NONSENSE = {
    "call of a list": b"](tR.",
    "call of an array's type": b"cnumpy\nndarray\n)R.",
    "call of encode": b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
    "bytes of an object": b"c__builtin__\nbytes\n(K\x05tR.",
    "scalar of objects": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS'a'\ntR.",
    "state of a list": b"](K\x01tb.",
    "state of a dict": b"}}b.",
    "array without a state": b"cnumpy.core.multiarray\n_reconstruct\n)R.",
    "array within itself": b"cnumpy.core.multiarray\n_reconstruct\n)Rp0\n(K\x01(K\x01tg0\n\x89g0\ntb.",
    "a key that is a tuple": b"}(K\x01K\x02tK\x03s.",
    "a key twice": b"}(K\x01K\x02K\x01K\x03u.",
    "a value without a key": b"}(K\x01u.",
    "nothing": b".",
    "no opcode": b"K\x01\xff.",
    "two values": b"K\x01K\x02.",
    "bytes after the end": b"K\x01.K\x01.",
    "no mark": b"K\x01t.",
    "no memo": b"h\x07.",
    "pop of nothing": b"0.",
    "append to a number": b"K\x01K\x02a.",
    "unquoted text": b"Sabc\n.",
    "a line without an end": b"Vabc",
    "unknown protocol": b"\x80\x07K\x01.",
    "long number": b"I" + b"9" * 10_000 + b"\n.",
    "claims of gigabytes: bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
    "claims of gigabytes: text": b"\x80\x04X" + struct.pack("<I", 1 << 31) + b"abc.",
    "claims of gigabytes: string": b"T\xff\xff\xff\x7fabc.",
    "claims of gigabytes: a number": b"\x8b\xff\xff\xff\x7f\x01.",
    "claims of gigabytes: a frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"K\x01.",
    "claims of gigabytes: a negative length": b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.",
}


def refused(tmp_path, monkeypatch, content):
    """Asserts that a file is refused with one sentence and nothing is executed; returns the sentence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PICKLE_EXECUTED", raising=False)
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(UserError) as error:
        pickles.load("a.pkl")
    assert os.listdir(tmp_path) == ["a.pkl"]
    assert "PICKLE_EXECUTED" not in os.environ
    assert str(error.value).startswith("a.pkl is ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", CALLS)
def test_what_is_more_than_values_is_refused_by_name(tmp_path, monkeypatch, name, protocol):
    value, named = CALLS[name]
    for content in (pickle.dumps(value, protocol), pickle.dumps({"a": [np.zeros(3), value]}, protocol)):
        sentence = refused(tmp_path, monkeypatch, content)
        assert any(part in sentence for part in named.split("|")), sentence


@pytest.mark.parametrize("name", OPCODES)
def test_opcodes_that_make_more_than_values_are_refused_by_name(tmp_path, monkeypatch, name):
    content, named = OPCODES[name]
    monkeypatch.syspath_prepend(tmp_path)
    sentence = refused(tmp_path, monkeypatch, content)
    assert f"asks for {named}," in sentence or f"asks for the opcode {named}," in sentence


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"version https://git-lfs", b"\x1f\x8b\x08"])
def test_a_page_a_pointer_or_a_gzip_in_the_place_of_a_pickle(tmp_path, monkeypatch, content):
    assert "it is no pickle" in refused(tmp_path, monkeypatch, content)


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_damage(tmp_path, monkeypatch, name):
    assert "damaged or cannot be read" in refused(tmp_path, monkeypatch, NONSENSE[name])


def test_arrays_that_are_not_as_they_say(tmp_path, monkeypatch):
    whole = pickle.dumps(np.arange(12, dtype=np.uint8), 2)
    for wrong in (whole.replace(b"K\x0c\x85", b"K\x0d\x85"), whole.replace(b"u1", b"u2"), whole.replace(b"u1", b"u9")):
        assert wrong != whole
        assert "damaged" in refused(tmp_path, monkeypatch, wrong)
    huge = whole.replace(b"K\x0c\x85", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")
    assert "4,611,686,014,132,420,609 elements are announced, and there are 12" in refused(tmp_path, monkeypatch, huge)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_cut_files_are_refused(tmp_path, monkeypatch, protocol):
    whole = pickle.dumps(VALUES, protocol)
    for end in {0, 1, 2, *range(3, len(whole), len(whole) // 40), len(whole) - 1}:
        refused(tmp_path, monkeypatch, whole[:end])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_flipped_bits_are_refused_or_change_a_value_and_never_more(monkeypatch, tmp_path, protocol):
    """A pickle has no checksum, so a changed bit in a pixel goes unnoticed. All other damage gives one sentence."""
    monkeypatch.chdir(tmp_path)
    whole, random, sentences = pickle.dumps(VALUES, protocol), np.random.default_rng(protocol), []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(min(len(whole), 3000))] ^= 1 << random.integers(8)
        try:
            pickles.loads(bytes(damaged), "a.pkl")
        except UserError as error:
            sentences.append(str(error))
    assert sentences
    assert not any("\n" in sentence for sentence in sentences)
    assert os.listdir(tmp_path) == []


def test_deep_nesting_is_no_danger():
    depth = 20 * sys.getrecursionlimit()
    value = pickles.loads(b"]" * depth + b"a" * (depth - 1) + b".", "a")
    for _ in range(depth - 1):
        (value,) = value
    assert value == []
