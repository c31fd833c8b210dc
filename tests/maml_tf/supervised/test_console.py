"""Tests that `maml`, the installed command, runs `main.py` with the arguments of the process."""

import sys

import pytest

from maml_tf.supervised import console


@pytest.mark.parametrize(
    ("argument", "code", "said"),
    [("--help", 0, "Meta-trains and tests MAML: "), ("--no_such=1", 2, "error: Unknown command line flag 'no_such'")],
)
def test_maml_is_main(argument, code, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["/usr/bin/maml", argument])
    assert console.main() == code
    assert "".join(capsys.readouterr()).startswith(said)
    assert sys.path[-1] == ""
