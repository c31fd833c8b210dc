"""The tables of README.md and RESULTS.md agree with the record."""

import errno
import os

import pytest

from maml_tf.runs import style
from scripts import record, reproduce, tables
from scripts.record import Line
from tests.command import assert_refused

CURVES = [
    Line("toy_maml", "MAML, seed 0", "1.0 2.0", "0.1 -", "3.0 4.0", "0.3 0.4", "0 1"),
    Line("toy_maml", "MAML, seed 1", "1.0 2.0", "0.1 -", "5.0", "0.5", "1"),
    Line("toy_oracle", "oracle", "7.0", "0.7", updates="0"),
    Line("toyota_maml", "another", "7.0", "0.7", updates="0"),
]
NUMBERS = [
    Line("omniglot_5way_1shot", "5-way 1-shot", "98.7", "0.4", "90.00", "1.00", "3", "test", "last", "4000"),
    Line("omniglot_20way_1shot", "20-way 1-shot", "95.8", "0.3", updates="5"),
    Line("omniglot_5way_1shot_first_order", "first order", updates="3", iterations="500"),
]


def _full(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages_are_what_the_record_says(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end of table -->") == len(tables._TABLE.findall(text)) > 0
    assert tables.filled(text, record.read()) == text, "run `python -m scripts.reproduce --write_results`"


def test_every_line_with_a_number_is_in_a_table_of_results():
    text = tables.PAGES[1].read_text(encoding="utf-8")
    names = [name for _, name, _, _ in tables._TABLE.findall(text)]
    for line in record.read():
        assert not line.row or sum(line.row.startswith(f"{name}_") for name in names) == 1, line


def test_curves():
    page = "before\n<!-- table: toy, toys, all -->\nold\n<!-- end of table -->\nafter"
    expected = """before
<!-- table: toy, toys, all -->

| toys, all | 0 updates | 1 |
| --- | --- | --- |
| MAML, published | 1.0 +- 0.1 | 2.0 |
| MAML, seed 0 | 3.0 +- 0.3 | 4.0 +- 0.4 |
| MAML, seed 1 | | 5.0 +- 0.5 |
| oracle, published | 7.0 +- 0.7 | |
| oracle | not run | |

<!-- end of table -->
after"""
    lines = [CURVES[0], CURVES[1]._replace(published="1.0", published_ci95="0.1"), *CURVES[2:]]
    assert tables.filled(page, lines) == expected
    assert tables.filled(expected, lines) == expected


def test_single_numbers():
    assert tables.of_rows("omniglot", "", NUMBERS) == [
        ["", "published", "ours", "updates", "tasks", "iterations"],
        ["5-way 1-shot", "98.7 +- 0.4", "90.00 +- 1.00", "3", "test", "4,000 of 60,000"],
        ["20-way 1-shot", "95.8 +- 0.3", "not run", "5", "", ""],
        ["first order", "none", "not tested", "3", "", "500 of 60,000"],
    ]


def test_summary_has_one_line_for_each_maml(monkeypatch):
    some = ("omniglot_5way_1shot", "omniglot_20way_1shot", "sinusoid_10shot_maml", "sinusoid_10shot_oracle")
    monkeypatch.setattr(tables, "RESULTS", {name: tables.RESULTS[name] for name in some})
    val = NUMBERS[0]._replace(split="val")
    seeds = [
        Line("sinusoid_10shot_maml", "MAML", "0.3 0.1", "0.1 0.1", f"0.{n} 0.9", "0.1 0.1", "1 10") for n in (25, 50)
    ]
    best = seeds[0]._replace(checkpoint="best")
    lines = [val, *NUMBERS[1:], seeds[0], best, seeds[1]]
    assert tables.summary(lines)[1:] == [
        [
            *("Omniglot, 5-way 1-shot, MAML", "3", "98.7 +- 0.4"),
            *("90.00 +- 1.00 (4,000 of 60,000 iterations, validation classes)", "`omniglot_5way_1shot`"),
        ],
        ["Omniglot, 20-way 1-shot, MAML", "5", "95.8 +- 0.3", "not run", "`omniglot_20way_1shot`"],
        ["sinusoid, K = 10, MAML", "1", "0.3 +- 0.1", "0.38 (2 seeds)", "`sinusoid_10shot_maml`"],
    ]


def of(seed, ours, split="test", iterations="60000"):
    return Line("omniglot_5way_1shot", "MAML", "98.7", "0.4", ours, "1.00", "3", split, "last", iterations, seed)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([of("0", "80.00", iterations="4000"), of("1", "90.00"), of("2", "91.00")], "90.50 (2 seeds)"),
        ([of("0", "80.00", "val"), of("1", "90.00")], "90.00 +- 1.00"),
        ([of("0", "80.00", "val"), of("1", "82.00", "val")], "81.00 (2 seeds, validation classes)"),
        (
            [of("0", "80.00", "val", "4000"), of("1", "90.00", "val", "5000")],
            "80.00 +- 1.00 (4,000 of 60,000 iterations, validation classes)",
        ),
        ([], "not run"),
        ([of("0", "")._replace(ci95="", iterations="")], "not run"),
    ],
)
def test_summary_averages_seeds_that_are_complete_and_of_one_split(monkeypatch, lines, expected):
    monkeypatch.setattr(tables, "RESULTS", {"omniglot_5way_1shot": tables.RESULTS["omniglot_5way_1shot"]})
    _, (_, update, theirs, ours, _) = tables.summary(lines)
    assert (update, theirs, ours) == ("3" if lines else "", "98.7 +- 0.4", expected)


def test_the_command_writes_the_tables_and_nothing_else(call, monkeypatch, tmp_path):
    pages = []
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        pages.append(tmp_path / page.name)
        pages[-1].write_text(tables._TABLE.sub(r"\1old\n\4", text), encoding="utf-8")
        assert pages[-1].read_text(encoding="utf-8") != text
    monkeypatch.setattr(tables, "PAGES", pages)
    result = call(reproduce.main, "--write_results")
    assert (result.returncode, result.stdout.count("Written to ")) == (0, 3)
    for written, name in zip(pages, ("README.md", "RESULTS.md", "docs/performance.md"), strict=True):
        page = tables.ROOT / name
        assert written.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(tables, "replacing", _full)
        result = call(reproduce.main, "--write_results")
    assert_refused(result, f"cannot write {pages[0]} (No space left on device)")
    pages[0].unlink()
    result = call(reproduce.main, "--write_results")
    assert result.returncode == 2
    assert "README.md is damaged or cannot be read" in result.stderr


def test_a_csv_of_another_table_is_put_aside(tmp_path, capsys):
    path, kept = tmp_path / "a.csv", "turn,ms\n0,1\n"
    path.write_text(kept)
    style.write_csv(path, [{"turn": 1, "ms": 2.0}])
    assert not (tmp_path / "a.csv.old1").exists()
    path.write_text(kept)
    for _ in range(2):
        style.write_csv(path, [{"party": "ours", "ms": 2.0}])
    assert (tmp_path / "a.csv.old1").read_text() == kept
    assert path.read_text() == "party,ms\nours,2\n"
    assert capsys.readouterr().out == f"{path} had other columns: it is now a.csv.old1\n"
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    style.write_csv(link, [{"turn": 1, "ms": 2.0}])
    assert path.read_text() == "turn,ms\n1,2\n"
    assert (tmp_path / "a.csv.old2").read_text() == "party,ms\nours,2\n"
    assert link.is_symlink()
