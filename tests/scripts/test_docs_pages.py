"""The pages of docs/ that are generated from sources: they are up to date, and the generator works."""

import ast
import re
from pathlib import Path

from maml_tf.runs.flags import Flags
from scripts import docs_pages
from tests.scripts.test_commands import COMMANDS

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / docs_pages.SOURCE).read_text(encoding="utf-8")


def test_flags_page_is_up_to_date():
    page = (ROOT / docs_pages.FLAGS).read_text(encoding="utf-8")
    assert page == docs_pages.flags_page(docs_pages.commands()), "run python -m scripts.docs_pages --page=flags"


def test_flags_page_has_every_command():
    assert docs_pages.commands() == [name for name in COMMANDS if name not in docs_pages.FORMER]


def test_what_a_flag_takes():
    flags = Flags()
    flags.argument("folder", "where it is")
    flags.integer("num_tasks", 600, "tasks", least=1)
    flags.integer("share", None, "of them", least=0, most=5)
    flags.integer("iteration", None, "checkpoint", words={"last": -1, "best": -2})
    flags.string("env", None, "where to act", required=True)
    flags.integer("side", None, "pixels", most=4096)
    flags.number("rate", 0.5, "a rate", between=(0, 1))
    flags.number("angle", None, "an angle", inside=(0, 90))
    flags.number("step", None, "a step", positive=True)
    flags.boolean("log", True, "write")
    flags.choice("jit", "auto", ["auto", "true"], "compile")
    flags.several("seed", int, "of a run")
    flags.path("out", None, "a file")
    takes = {entry.name: (entry.takes, entry.default) for entry in flags.entries()}
    assert takes == {
        "folder": ("text; must be given", ""),
        "--iteration": ("integer, or last, or best", ""),
        "--env": ("text; must be given", ""),
        "--num_tasks": ("integer, at least 1", "600"),
        "--share": ("integer from 0 to 5", ""),
        "--side": ("integer, at most 4096", ""),
        "--rate": ("number from 0 to 1", "0.5"),
        "--angle": ("number between 0 and 90", ""),
        "--step": ("positive number", ""),
        "--log": ("true, false", "true"),
        "--jit": ("auto, true", "auto"),
        "--seed": ("integer", ""),
        "--out": ("text", ""),
    }


def test_cells_and_outputs():
    source = '"""\n# A page\n\n## Setup\n"""\n\nx = 1\n\n"""\nThen:\n"""\n\nprint(x)\n'
    assert list(docs_pages.cells(source)) == [
        (False, "# A page\n\n## Setup"),
        (True, "x = 1"),
        (False, "Then:"),
        (True, "print(x)"),
    ]
    page = docs_pages.from_scratch_page(source, docs_pages._runner())
    assert page.endswith("```python\nx = 1\n```\n\nThen:\n\n```python\nprint(x)\n```\n\n```text\n1\n```\n")


def test_from_scratch_page_is_up_to_date_and_has_outputs():
    page = (ROOT / docs_pages.FROM_SCRATCH).read_text(encoding="utf-8")
    without = re.sub(r"```text\n.*?```\n\n?", "", page, flags=re.DOTALL).rstrip() + "\n"
    assert without == docs_pages.from_scratch_page(SOURCE), "run python -m scripts.docs_pages --page=from-scratch"
    errors = [float(error) for error in re.findall(r"error on 600 new tasks after \d updates: ([\d.]+)", page)]
    assert len(errors) == 3
    assert errors[0] / 3 > errors[1] > errors[2]
    shares = [float(share) for share in re.findall(r"new characters after \d updates: ([\d.]+)", page)]
    assert len(shares) == 3
    assert shares[0] < 0.35  # chance is 0.2
    assert shares[1] > 0.75
    assert shares[2] > shares[0] + 0.4


def test_one_file_is_short_and_of_stock_parts():
    assert len(SOURCE.splitlines()) <= 200
    imported = {
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"zipfile", "keras", "numpy", "tensorflow", "maml_tf.layers.BatchNorm"}
