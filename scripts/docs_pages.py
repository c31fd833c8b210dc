"""Writes the pages of docs/ that are made from sources: the one command that does.

python -m scripts.docs_pages --page=flags
python -m scripts.docs_pages --page=from-scratch

  flags         docs/flags.md: every flag of every command, from its definition, and the usual value of every setting
  from-scratch  docs/from-scratch.md: docs/from_scratch.py with what it prints. Running it takes minutes; Omniglot is
                read from data/omniglot, and downloaded if it is missing

Run it in a clone. A test finds a page that differs from its source.
"""

import contextlib
import dataclasses
import importlib
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_generators.files import reading, replacing
from maml_tf.runs import process
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.settings import Settings
from maml_tf.supervised.datasets import DATASETS
from maml_tf.supervised.experiment import Experiment
from rl.envs import ENVIRONMENTS
from rl.experiment import RLExperiment

FLAGS, FROM_SCRATCH, SOURCE = Path("docs/flags.md"), Path("docs/from-scratch.md"), Path("docs/from_scratch.py")
NO_COMMANDS = ("__init__", "benchmark_record", "benchmark_turns", "benchmark_worker")
NO_COMMANDS += ("record", "results", "rows", "served", "tables", "updates", "verify")
FORMER = ("test_rl", "benchmark_rl_sampling", "sgemm")
INSTALLED = {"train_rl": "maml-rl train", "evaluate_rl": "maml-rl evaluate", "export_rl": "maml-rl export"}
_CELL = re.compile(r'^"""\n(.*?)^"""\n', re.DOTALL | re.MULTILINE)


def flags_page(scripts: Iterable[str]) -> str:
    """Returns the text of docs/flags.md.

    Args:
        scripts: names of the commands in scripts/.
    """
    parts = [
        "# Flags",
        "Every flag of every command. `python -m scripts.docs_pages --page=flags` makes this page from the commands "
        "themselves; `--help` prints them too. [Experiments](experiments.md) says which flags an experiment needs. "
        "A flag is given as `--name=value`; a truth value also as `--name` or `--noname`. `~` at the start of "
        "a text is your home folder.",
        "## main.py",
        "Trains, tests and exports; `maml` in an installation. A default that is not given here is among the "
        "[usual values](#usual-values-of-mainpy).",
        _table(_flags("maml_tf.supervised.command_line")),
        "### Usual values of main.py",
        "What is not given takes the paper's value; for datasets that the paper does not have, that of miniImagenet. "
        "Settings without a value are not used.",
        _values(Experiment, _experiments()),
    ]
    for name in scripts:
        module = importlib.import_module(f"scripts.{name}")
        what = importlib.import_module(module.run.__module__).__doc__.splitlines()[0].rstrip(":.;, ")
        also = f" `{INSTALLED[name]}` in an installation." if name in INSTALLED else ""
        parts += [f"## scripts.{name}", f"{_plain(what)}.{also}"]
        found = _flags(module.__name__)
        parts.append(_table(found) if found else "It has no flags.")
        if name == "train_rl":
            settings = {env: RLExperiment.of(env=env) for env in ENVIRONMENTS}
            parts += ["### Usual values of scripts.train_rl", "What is not given takes the paper's value."]
            parts.append(_values(RLExperiment, settings))
    return "\n\n".join(parts) + "\n"


def commands() -> list[str]:
    """Returns the names of the commands in scripts/, without former names."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    return [name for name in found if name not in NO_COMMANDS + FORMER]


def _flags(module):
    flags = Flags()
    importlib.import_module(module).define(flags)
    return flags.entries()


def _table(entries):
    rows = ["| flag | meaning | takes | default |", "| --- | --- | --- | --- |"]
    for name, takes, default, help in entries:
        help = re.sub(r"^<[^>]*>: ", "", help)  # the choices, which are in another column
        rows.append(f"| `{name}` | {_plain(help)} | {takes} | {_plain(default)} |")
    return "\n".join(rows)


def _plain(text):
    text = re.sub(r"([|*])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
    return re.sub(r"`[^`]*`|(--\w[\w=]*)", lambda match: f"`{match[1]}`" if match[1] else match[0], text)


def _experiments():
    found = {}
    for name in DATASETS:
        for ways in (5, 20) if name == "omniglot" else (5,):
            usual = Experiment.of(datasource=name, num_classes=ways)
            queries = usual.dataset.queries or usual.update_batch_size
            kind = "20-way and more" if ways == 20 else "below 20-way"
            title = f"{name}, {kind}" if name == "omniglot" else name
            found[title] = dataclasses.replace(usual, queries=queries)
    return found


def _values(kind: type[Settings], settings: Mapping[str, Settings]) -> str:
    """Returns a table of the usual values; entries of `settings` with the same values share a column."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in ("datasource", "env")]
    columns: dict[tuple, list[str]] = {}
    for title, given in settings.items():
        columns.setdefault(tuple(getattr(given, name) for name in names), []).append(title)
    rows = [["setting", *map(", ".join, columns.values())], ["---"] * (1 + len(columns))]
    rows += [[f"`--{name}`", *(_value(column[i]) for column in columns)] for i, name in enumerate(names)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _value(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def cells(source: str) -> Iterator[tuple[bool, str]]:
    """Yields (whether it is code, its text) for each cell of a file in which triple-quoted texts and code alternate."""
    for i, part in enumerate(_CELL.split(source)):
        if part.strip():
            yield i % 2 == 0, part.strip()


def from_scratch_page(source: str, run: Any = None) -> str:
    """Returns the text of docs/from-scratch.md.

    Args:
        source: text of docs/from_scratch.py.
        run: function that runs code and returns what it prints; default, the page has no outputs.
    """
    parts = []
    for is_code, text in cells(source):
        parts.append(f"```python\n{text}\n```" if is_code else text)
        printed = run(text) if is_code and run else ""
        parts += [f"```text\n{printed.rstrip()}\n```"] if printed else []
    note = "This page is `docs/from_scratch.py`, run by `python -m scripts.docs_pages --page=from-scratch`."
    return "\n\n".join([parts[0].replace("\n\n## Setup", f"\n\n{note}\n\n## Setup"), *parts[1:]]) + "\n"


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.several("page", ["flags", "from-scratch"], "page to write; default: all")


def run(flags: Flags) -> None:
    """Writes the pages."""
    for page in flags.page or ("flags", "from-scratch"):
        if page == "flags":
            _write(FLAGS, flags_page(commands()))
            continue
        process.configure(process.TASKS_SIDE_BY_SIDE)
        with reading(SOURCE):
            source = SOURCE.read_text(encoding="utf-8")
        _write(FROM_SCRATCH, from_scratch_page(source, _runner()))


def _runner():
    names: dict[str, Any] = {"__name__": "__main__"}

    def run(code):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        return printed.getvalue()

    return run


def _write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(path)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
