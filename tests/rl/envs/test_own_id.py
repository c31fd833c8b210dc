"""Tests of the ids of users' environments: invalid ids, and modules that cannot be imported."""

import gymnasium
import pytest

from data_generators.errors import UserError
from rl import envs


def refused(name):
    """Asserts that making the environment and drawing goals refuse an id; returns the error message."""
    for ask in lambda: envs.make_vector(name, 1, 1, 5), lambda: envs.sample_goals(name, 0, 0, 1):
        with pytest.raises(UserError) as error:
            ask()
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        ":Id",
        "a:b:c",
        "../m:Id",
        ".:x",
        "..:x",
        "m:",
        ":",
        "a..b:x",
        "m\0:Id",
        "m :Id",
        "math:a b",
        "math:\0",
        "x:é/é/é",
    ],
)
def test_what_is_no_id(name):
    assert refused(name).startswith(f"Gymnasium cannot make the environment {name!r}")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "\0", "/etc"])
def test_what_is_no_name(name):
    assert refused(name).startswith(f"There is no environment {name!r}: choose point_navigation")


@pytest.mark.parametrize("name", ["a" * 5000, "m:" + "a" * 5000, "a" * 5000 + ":Id"])
def test_long_names(name):
    assert refused(name) == f"The name of an environment has at most 200 letters, not {len(name)}."


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("\ndef (", "SyntaxError: invalid syntax", 2),
        ("from os import nosuch", "ImportError: cannot import name 'nosuch'", 1),
        ("import nosuch_module", "ModuleNotFoundError: No module named 'nosuch_module'", 1),
        ("\n\nraise RuntimeError('two\\nlines')", "RuntimeError: two lines", 3),
        ("import sys\nsys.exit('bye')", "SystemExit: bye", 2),
        ("import json\njson.loads('{')", "JSONDecodeError: Expecting property name", 2),
        ("x = '\xff'.encode('ascii')", "UnicodeEncodeError: 'ascii'", 1),
        ("1 / 0", "ZeroDivisionError: division by zero", 1),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(tmp_path, monkeypatch, source, message, line):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_room.py").write_text(source, encoding="utf-8")
    told = refused("broken_room:Id-v0")
    assert "since broken_room cannot be imported: " + message in told
    assert f"{tmp_path / 'broken_room.py'}" in told
    assert f"line {line})" in told
    assert "\n" not in told


def test_entry_points_that_are_not_there_or_no_environment():
    for entry_point, message in (
        ("nosuch_module:Env", "since nosuch_module:Env cannot be imported: ModuleNotFoundError"),
        ("math:Env", "since math:Env cannot be imported: AttributeError"),
        (lambda: object(), "must inherit from the gymnasium.Env class"),
    ):
        gymnasium.register("own/Nowhere-v0", entry_point)
        try:
            assert message in refused("own/Nowhere-v0")
        finally:
            del gymnasium.registry["own/Nowhere-v0"]


def test_ctrl_c_is_no_mistake_of_the_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "interrupted_room.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        envs.make_vector("interrupted_room:Id", 1, 1, 5)
