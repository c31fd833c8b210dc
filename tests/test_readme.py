"""What README shows works: its example, its commands and its links."""

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

ITERATIONS = "range(2000)"


def example():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return code


def commands():
    """Every `python ...` command, in a table, in the text or in an indented block."""
    indented = re.findall(r"^    (.+)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE)
    found = [*re.findall(r"`([^`\n]+)`", README), *indented]
    parts = (part.strip() for text in found for part in text.split("&&"))
    return sorted({part for part in parts if part.startswith("python ")})


def flags_to_add():
    """The flags of the table's rows that say `add ...`."""
    return re.findall(r"\| add `(--\S+)` \|", README)


def test_example_is_short():
    assert len(example().splitlines()) <= 30


def test_example_runs_and_adapts(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    np.random.seed(0)  # noqa: NPY002 - the example draws from NumPy's global generator
    assert example().count(ITERATIONS) == 1
    names = {}
    exec(example().replace(ITERATIONS, "range(400)"), names)
    before, after = re.findall(r"error (?:before|after) adaptation: ([\d.e-]+)\n", capsys.readouterr().out)
    assert float(after) < float(before)
    losses = names["maml"].evaluate(names["parabolas"](200), 10)["losses"].mean(0)
    assert losses[10] < losses[0] / 5
    assert (tmp_path / "parabola.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["parabola.png"]


def test_commands_are_found():
    assert "python main.py" in commands()
    assert "python -m pytest" in commands()
    assert "python -m scripts.sinusoid_table" in commands()
    assert "--stop_grad=True" in flags_to_add()


@pytest.mark.parametrize("command", commands())
def test_commands_are_valid(command):
    _, *arguments = shlex.split(command)
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]) is not None
        return
    assert arguments[0] == "main.py"
    values = main.parse(arguments)
    trained, tested = main.experiments(values)
    assert trained.iterations > 0
    assert values.help or tested.name


@pytest.mark.parametrize("flag", flags_to_add())
def test_flags_to_add_are_valid(flag):
    usual, _ = main.experiments(main.parse(["main.py", "--datasource=omniglot"]))
    changed, _ = main.experiments(main.parse(["main.py", "--datasource=omniglot", flag]))
    assert changed != usual


@pytest.mark.parametrize("name", ["README.md", "RESULTS.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
