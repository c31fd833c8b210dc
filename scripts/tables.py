"""Writes the tables of RESULTS.md and README.md from the record, and those of docs/performance.md from measurements.

Comments in a page say where a table is: from `<!-- table: half_cheetah_direction, half-cheetah, goal direction -->` to
`<!-- end of table -->`. The table has the rows whose names begin with the first word, in the record's order; the other
words are its title. The table `paper` has one line for each result of MAML in the paper. The tables whose names begin
with `benchmark` show what `scripts.benchmark --peers` and `--against` have measured.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from data_generators.files import reading, replacing, writing
from maml_tf.supervised.datasets import DATASETS
from scripts import benchmark_record
from scripts.record import Line, read
from scripts.results import RESULTS
from scripts.updates import AFTER_ONE

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "README.md", ROOT / "RESULTS.md", ROOT / "docs" / "performance.md"
SUMMARY = "paper"
_TEST = "test", "40 goals", ""  # the splits that the paper tests on; "" if none is recorded
# How the names of rows that are not the paper's begin.
OTHERS = "variants_", *(f"{name}_" for name, dataset in DATASETS.items() if dataset.accuracies)
_TABLE = re.compile(r"(<!-- table: (\w+)(?:, ([^\n]+?))? -->\n).*?(<!-- end of table -->)", re.DOTALL)
# The tables of the benchmark: the csv, and the function that turns its rows into cells.
_MEASURED = {
    "benchmark_peers": (benchmark_record.PEERS, benchmark_record.peers_table),
    "benchmark_memory": (benchmark_record.PEERS, benchmark_record.memory_table),
    "benchmark_against": (benchmark_record.AGAINST, benchmark_record.against_table),
}


def write() -> list[Path]:
    """Writes the tables into the pages and returns the pages.

    Raises:
        UserError: the record or a page cannot be read or written.
    """
    lines = read()
    for path in PAGES:
        with reading(path, "restore it from the repository"):
            text = path.read_text(encoding="utf-8")
        with writing(path), replacing(path) as part:
            part.write_text(filled(text, lines), encoding="utf-8")
    return list(PAGES)


def filled(page: str, lines: Sequence[Line]) -> str:
    """Returns the text of a page with its tables made anew from the record and the measurements."""

    def table(found):
        begin, name, title, end = found.groups()
        if name in _MEASURED:
            path, cells_of = _MEASURED[name]
            rows = benchmark_record.read(path)
            said = benchmark_record.measured_on(rows, quartiles=cells_of is not benchmark_record.memory_table)
            return f"{begin}\n{markdown(cells_of(rows))}\n\n{said}\n\n{end}"
        cells = summary(lines) if name == SUMMARY else of_rows(name, title or "", lines)
        return f"{begin}\n{markdown(cells)}\n\n{end}"

    return _TABLE.sub(table, page)


def of_rows(name: str, title: str, lines: Sequence[Line]) -> list[list[str]]:
    """Makes the cells of the table of all rows that begin with `name`: curves if there are any, else single numbers."""
    chosen = [line for line in lines if line.row.startswith(f"{name}_")]
    return (_curves if any(" " in line.updates for line in chosen) else _numbers)(title, chosen)


def summary(lines: Sequence[Line]) -> list[list[str]]:
    """Makes the cells of README's table: MAML in every experiment of the paper; several seeds are averaged.

    Numbers are those after the last update; for sinusoids and 2D navigation, those after the first.
    """
    cells = [["experiment", "updates", "paper", "ours", "row"]]
    for name, result in RESULTS.items():
        if "MAML" not in result.title or name.startswith(OTHERS):
            continue
        of_row = [line for line in lines if line.row == name and line.checkpoint in ("", "last")]
        if not of_row:
            cells.append([result.title, "", result.published or "none", "not run", f"`{name}`"])
            continue
        update = "1" if name in AFTER_ONE else of_row[0].updates.split()[-1]
        theirs = of_row[0].theirs_by_update.get(update, "none")
        cells.append([result.title, update, str(theirs), _ours(of_row, update), f"`{name}`"])
    return cells


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Formats a table in markdown; the first row is its header."""
    header, *rows = cells
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines)


def _curves(title, lines):
    """Makes a column for each number of updates; the published numbers of a row are above our first line of it."""
    updates = sorted({update for line in lines for update in line.updates.split()}, key=int)
    cells, seen = [[title, f"{updates[0]} updates", *updates[1:]]], set()
    for line in lines:
        theirs, ours = line.theirs_by_update, line.ours_by_update
        if theirs and line.row not in seen:
            cells.append([f"{line.run.split(',')[0]}, published", *(str(theirs.get(u, "")) for u in updates)])
        seen.add(line.row)
        numbers = [str(ours.get(u, "")) for u in updates] if ours else [_not_there(line), *[""] * (len(updates) - 1)]
        cells.append([", ".join(filter(None, (line.run, line.incomplete))), *numbers])
    return cells


def _numbers(title, lines):
    cells = [[title, "published", "ours", "updates", "tasks", "iterations"]]
    for line in lines:
        theirs = next(iter(line.theirs_by_update.values()), "none")
        ours = next(iter(line.ours_by_update.values()), _not_there(line))
        iterations = line.incomplete.removesuffix(" iterations") or (line.iterations and f"{int(line.iterations):,}")
        cells.append([line.run, str(theirs), str(ours), line.updates, line.split, iterations])
    return cells


def _not_there(line):
    return "not tested" if line.iterations else "not run"


def _ours(lines, update):
    """Formats the mean over the complete lines of one split, preferably of the test; if none is complete, one line."""
    there = [line for line in lines if update in line.ours_by_update]
    if not there:
        return _not_there(lines[0])
    first = min(there, key=lambda line: (line.incomplete != "", line.split not in _TEST))
    averaged = [line for line in there if not line.incomplete and line.split == first.split] or [first]
    numbers = [line.ours_by_update[update] for line in averaged]
    digits = len(numbers[0].mean.partition(".")[2])
    mean = f"{sum(float(number.mean) for number in numbers) / len(numbers):.{digits}f}"
    seeds = f"{len(numbers)} seeds" if len(numbers) > 1 else ""
    notes = ", ".join(filter(None, (seeds, first.incomplete, "" if first.split in _TEST else "validation classes")))
    return (mean if seeds else str(numbers[0])) + (f" ({notes})" if notes else "")
