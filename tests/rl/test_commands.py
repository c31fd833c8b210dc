"""Tests of `maml-rl`: its choices, and its message when packages are missing."""

import importlib.util
import sys

import pytest

from rl import commands


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Restores Python's module path after the command."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_help_lists_the_choices(capsys):
    assert commands.main(["--help"]) == commands.main(["-h"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:5]] == ["train", "evaluate", "export"]


@pytest.mark.parametrize("choice", commands.CHOICES)
def test_a_choice_takes_the_rest(choice, capsys):
    assert commands.main([choice, "--help"]) == 0
    assert f"\n\npython -m scripts.{choice}_rl --env=" in capsys.readouterr().out
    assert commands.main([choice, "--no_such_flag"]) == 2


@pytest.mark.parametrize("arguments", [[], ["--env=point_navigation"], ["test"]])
def test_without_a_choice(arguments, capsys):
    assert commands.main(arguments) == 2
    said = "error: name one of train, evaluate, export before the flags: --help says what they do\n"
    assert capsys.readouterr().err == said


def test_packages_that_are_missing_are_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("mujoco", "tf_keras") else name)
    assert commands.main(["train"]) == 2
    assert capsys.readouterr().err == "error: maml-rl needs mujoco, tf_keras: install maml-tf[rl]\n"


def test_modules_in_the_current_folder_are_found_last(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "only_here.py").touch()
    (tmp_path / "rl.py").touch()
    commands.main(["--help"])
    assert importlib.util.find_spec("only_here").origin == str(tmp_path / "only_here.py")
    assert sys.path[-1] == ""
