"""Measurements in turns: their numbers, compared with a calculation by hand, their tables and their picture."""

import pytest

from data_generators.errors import UserError
from maml_tf.runs import style
from scripts import benchmark, docs_figures, plot_benchmark, tables
from scripts import benchmark_record as record
from scripts.figures import benchmark as pictures
from tests.scripts.test_docs_figures import FIGURES

HERE = {"machine": "some, 2 cores", "load": 0.1}


def row(name, who, turn, ms, peak_mb=None, first_s=None, version=""):
    of = {"workload": name, "who": who, "version": version, "setting": "", "turn": turn, "ms": ms}
    return of | {"peak_mb": peak_mb, "first_s": first_s} | HERE


# Our step takes 1, 2 and 4 ms, the peer's 3, 4 and 4 ms, which is 3, 2 and 1 times as long.
ROWS = [row("step", "ours", turn, ms, 100.0) for turn, ms in enumerate((1.0, 2.0, 4.0))]
ROWS += [row("step", "PyTorch, vmap", turn, ms, 250.0, version="PyTorch 2") for turn, ms in enumerate((3.0, 4.0, 4.0))]
ROWS += [row("loop", "ours", 0, 10.0), row("loop", "JAX, lax.scan", 0, 5.0)]


def test_ratios_are_of_the_same_turn():
    _, peer, *_ = record.summary(ROWS)
    assert peer == {
        **{"workload": "step", "who": "PyTorch, vmap", "ms": 4.0, "ratio": 2.0, "low": 1.5, "high": 2.5},
        **{"peak_mb": 250.0, "first_s": None},
    }


def test_tables():
    assert record.peers_table(ROWS) == [
        ["workload", "ours, ms", "PyTorch, vmap", "JAX, lax.scan"],
        ["`step`", "2", "2.00 (1.50, 2.50)", ""],
        ["`loop`", "10", "", "0.50 (0.50, 0.50)"],
    ]
    assert record.memory_table(ROWS)[1:] == [["`step`", "100", "250", ""], ["`loop`", "-", "", "-"]]
    then = [row("step", "abc", turn, ms, 800.0, 9.0) for turn, ms in enumerate((3.0, 4.0, 4.0))]
    now = [row("step", "ours", turn, 2.0, 700.0, 6.04) for turn in range(3)]
    assert record.against_table(then + now) == [
        ["workload", "abc, ms", "now, ms", "ratio", "peak MB", "first step, s"],
        ["`step`", "4", "2", "2.00 (1.75, 2.00)", "800, 700", "9.0, 6.0"],
    ]
    assert record.measured_on(ROWS) == (
        "Medians of 1 to 3 turns, with quartiles in brackets; some, 2 cores, PyTorch 2; "
        "in the minute before, 0.1 processes wanted to run."
    )
    assert record.measured_on(ROWS, quartiles=False).startswith("Medians of 1 to 3 turns; some, 2 cores, ")


def test_rows_come_back_and_replace_those_of_their_workload(tmp_path):
    path = tmp_path / "measured.csv"
    record.replace(path, ROWS[:6])
    record.replace(path, ROWS[6:])
    assert record.read(path) == ROWS
    newer = [row("step", "ours", 0, 7.0)]
    record.replace(path, newer)
    assert record.read(path) == newer + ROWS[6:]


def test_the_page_has_tables_of_the_measurements():
    page = (tables.ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, (path, cells) in tables._MEASURED.items():
        rows = record.read(path)
        said = record.measured_on(rows, quartiles=name != "benchmark_memory")
        assert f"<!-- table: {name} -->\n\n{tables.markdown(cells(rows))}\n\n{said}" in page


def test_the_picture_has_a_bar_for_each_peer_and_quartiles():
    figure = style.make(pictures.draw, pictures.numbers(ROWS), *pictures.SIZE)
    (panel,) = figure.axes
    assert [bar.get_y() + bar.get_height() for bar in panel.patches] == [2.0, 0.5]
    assert {bar.get_y() for bar in panel.patches} == {1}
    assert [text.get_text() for text in panel.texts] == ["2", "0.5"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["step\n2 ms", "loop\n10 ms"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["PyTorch, vmap", "JAX, lax.scan"]


def test_the_picture_of_the_page_is_of_the_measurements(call, tmp_path):
    ((script, out),) = docs_figures.commands()["benchmark"]
    assert (script, out) == ("plot_benchmark", "--out=docs/figures")
    result = call(plot_benchmark.main, f"--measured={record.PEERS}", f"--out={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "benchmark_peers.csv").read_bytes() == (FIGURES / "benchmark_peers.csv").read_bytes()
    assert (tmp_path / "benchmark_peers.png").stat().st_size > 1000


def test_one_file_has_one_comparison(tmp_path):
    """Before anything is measured, a file with another comparison or other contents is refused."""
    path = tmp_path / "measured.csv"
    record.check(path, "abc")
    record.check(path, None)
    record.replace(path, ROWS)
    record.check(path, None)
    with pytest.raises(UserError, match=r"measured\.csv has measurements of --peers: give --csv another file"):
        record.check(path, "abc")
    path.unlink()
    record.replace(path, [row("step", "abc", 0, 3.0), row("step", "ours", 0, 2.0)])
    record.check(path, "abc")
    for other in (None, "abd"):
        with pytest.raises(UserError, match="has measurements of --against=abc: give --csv another file"):
            record.check(path, other)
    path.write_text("workload,ms\nstep,1\n")
    assert benchmark.main(["--against=abc", f"--csv={path}"]) == 2


WITHOUT_OURS = "workload,who,turn,ms,peak_mb,first_s,load\nstep,abc,0,1.0,,,0.1\n"


@pytest.mark.parametrize(
    "content", [None, "what,ms\nstep,1\n", "workload,who,turn,ms,peak_mb,first_s,load\n", WITHOUT_OURS]
)
def test_a_file_without_measurements_is_told(call, tmp_path, content):
    if content is not None:
        (tmp_path / "measured.csv").write_text(content)
    result = call(plot_benchmark.main, "--measured=measured.csv")
    assert result.returncode == 2
    assert "write it by python -m scripts.benchmark with --peers or --against=COMMIT" in result.stderr
