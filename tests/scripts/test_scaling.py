"""How a step scales: the equations compared with numbers by hand, and that page and picture are up to date."""

import pytest

from maml_tf.runs import style
from scripts import benchmark_workers, docs_figures, plot_scaling
from scripts.figures import scaling
from scripts.figures.scaling import Parts
from tests.scripts.test_docs_figures import FIGURES

# 2 ms per task, 1 ms per step, a message of 1 MB, which takes 1 ms at 8 Gbit/s, and a latency of 0.1 ms.
BY_HAND = Parts(task_ms=2.0, fixed_ms=1.0, bytes=1_000_000, latency_ms=0.1, ms_per_byte=0.0)
NAME = "omniglot_5way_1shot"


def measured(turns=3):
    """Rows as the command writes them. Their medians fit `BY_HAND`, except that packing takes 1 ms per MB."""
    blocks = [("step", 1, 2, 16, 20.0), ("step", 2, 2, 16, 18.0), ("step", 1, 1, 16, 33.0), ("step", 1, 1, 4, 9.0)]
    blocks += [("mean", 2, 2, 4, 0.2), ("mean", 2, 2, 400_000, 0.6), ("mean", 2, 2, 16_000_000, 16.2)]
    rows = []
    for turn in range(turns):
        for what, workers, cores, size, ms in blocks:
            sizes = {"tasks": size, "bytes": 1_000_000} if what == "step" else {"tasks": 0, "bytes": size}
            row = {"workload": NAME, "what": what, "workers": workers, "cores": cores, **sizes, "turn": turn}
            rows.append(row | {"ms": ms * (1 + 0.5 * (turn - 1)), "machine": "some, 2 cores", "load": 0.1})
    return rows


def test_an_all_reduce_in_a_ring():
    # 2 * 3 / 4 of 1 ms, and 6 latencies.
    assert scaling.all_reduce_ms(BY_HAND, 4, 8) == pytest.approx((1.5, 0.6))
    # Half the time at twice the bandwidth, and 0.5 ms more for each of the 1.5 MB that are packed.
    assert scaling.all_reduce_ms(BY_HAND._replace(ms_per_byte=0.5e-6), 4, 16) == pytest.approx((0.75 + 0.75, 0.6))
    assert scaling.all_reduce_ms(BY_HAND, 1, 8) == (0, 0)


def test_a_step_and_its_efficiency():
    # 4 workers share 9 tasks as 3, 2, 2 and 2.
    step = scaling.step_ms(BY_HAND, 4, 9, 8)
    assert step == pytest.approx({"tasks": 6, "fixed": 1, "bytes": 1.5, "latency": 0.6})
    assert scaling.efficiency(BY_HAND, 4, 9, 8) == pytest.approx((9 * 2 + 1) / (4 * 9.1))
    assert scaling.efficiency(BY_HAND, 1, 9, 8) == 1


def test_the_meta_batch_for_an_efficiency_is_the_least():
    # (0.9 * 4 * (1 + 2.1) - 1) / (0.1 * 2) = 50.8, and the next multiple of 4.
    assert scaling.meta_batch_for(BY_HAND, 0.9, 4, 8) == 52
    assert scaling.efficiency(BY_HAND, 4, 52, 8) == pytest.approx(105 / (4 * 29.1))  # 0.902
    assert scaling.efficiency(BY_HAND, 4, 48, 8) == pytest.approx(97 / (4 * 27.1))  # 0.895
    assert scaling.meta_batch_for(BY_HAND._replace(fixed_ms=0.0, latency_ms=0.0, bytes=0), 0.9, 4, 8) == 4


def test_parts_from_measurements():
    # (33 - 9) / (16 - 4) ms per task, and 33 - 16 * 2 ms per step.
    parts = scaling.parts(measured(), NAME)
    assert parts._asdict() == pytest.approx(BY_HAND._replace(ms_per_byte=1e-6)._asdict())
    assert scaling.ratio(measured(), NAME) == pytest.approx(20 / 18)


def test_the_fastest_blocks_may_be_of_different_turns():
    rows = measured()
    for turn, ms in enumerate((20, 16, 40)):
        (workers,) = (r for r in rows if (r["what"], r["workers"], r["turn"]) == ("step", 2, turn))
        workers["ms"] = ms
    assert scaling.ratio(rows, NAME) == pytest.approx(30 / 40)  # of 10 / 20, 20 / 16 and 30 / 40
    assert scaling.ratio_of_fastest(rows, NAME) == pytest.approx(10 / 16)


def test_the_picture_has_a_line_for_each_meta_batch_and_network():
    figure = style.make(lambda f, rows: scaling.draw(f, rows, NAME), measured(), *scaling.SIZE)
    left, right = figure.axes
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert texts == ["meta-batch 32", "meta-batch 256", "meta-batch 2048", "measured, meta-batch 16"]
    line = next(line for line in left.lines if line.get_label() == "meta-batch 32")
    assert line.get_xdata().tolist() == [2, 4, 8, 16, 32]  # a worker has at least one task
    parts = scaling.parts(measured(), NAME)
    assert line.get_ydata()[1] == pytest.approx(100 * scaling.efficiency(parts, 4, 32, 100))
    star = next(line for line in left.lines if line.get_label().startswith("measured"))
    assert star.get_xydata()[0] == pytest.approx([2, 100 * 33 / (2 * 18)])
    assert right.get_yscale() == "log"
    assert "Not measured" in figure.get_suptitle()


def test_the_page_has_the_table_of_the_measurements(call, tmp_path):
    ((script, measured_flag, out),) = docs_figures.commands()["scaling"]
    assert (script, out) == ("plot_scaling", "--out=docs/figures/scaling.png")
    assert measured_flag == "--measured=docs/figures/scaling.csv"
    path = FIGURES / "scaling.csv"
    result = call(plot_scaling.main, f"--measured={path}", f"--out={tmp_path / 'scaling.png'}")
    assert result.returncode == 0, result.stderr
    *lines, written = result.stdout.splitlines()
    assert written == str(tmp_path / "scaling.png")
    page = (FIGURES.parent / "scale.md").read_text(encoding="utf-8")
    missing = [line for line in lines if line not in page]
    assert not missing, "copy what `python -m scripts.docs_figures --picture=scaling` prints into docs/scale.md"
    turns = [row["turn"] for row in plot_scaling.read(path) if row["workload"] == NAME and row["bytes"] == 4]
    assert turns == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "measured.csv is damaged or cannot be read"),
        ("what,ms\nstep,1\n", "measured.csv is damaged or cannot be read"),
        ("", f"measured.csv has no whole measurement of {NAME}"),
    ],
)
def test_a_file_without_the_measurements_is_told(call, tmp_path, content, said):
    if content is not None:
        (tmp_path / "measured.csv").write_text(content)
    result = call(plot_scaling.main, "--measured=measured.csv")
    assert result.returncode == 2
    assert f"{said}" in result.stderr
    assert "write it by python -m scripts.benchmark_workers --csv=FILE" in result.stderr
    assert not (tmp_path / "logs" / "scaling.png").exists()


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--workload=training_loop", "value should be one of <omniglot_5way_1shot|"),
        ("--workers=1", "--workers must be at least 2"),
        ("--csv=/dev/null/all.csv", "cannot write to /dev/null"),
    ],
)
def test_bad_flags_of_the_measurement(call, flag, complaint):
    result = call(benchmark_workers.main, flag)
    assert (result.returncode, complaint in result.stderr) == (2, True), result.stderr


@pytest.mark.slow
def test_the_measurement_writes_every_block(call, tmp_path):
    path = tmp_path / "scaling.csv"
    result = call(benchmark_workers.main, "--workload=sinusoid", "--turns=2", "--steps=2", f"--csv={path}")
    assert result.returncode == 0, result.stderr
    assert "of the tasks per second of one process on all cores" in result.stdout
    assert "by the fastest block of each" in result.stdout
    rows = plot_scaling.read(path)
    blocks = [(r["what"], r["workers"], r["tasks"], r["bytes"]) for r in rows if r["turn"] == 1]
    # 40 + 40, 1,600 + 40 and 40 + 1 weights, two metrics and the weight of the mean, of four bytes each.
    steps = [("step", n, tasks, 7056) for n, tasks in ((1, 25), (2, 25), (1, 25), (1, 6))]
    assert blocks == steps + [("mean", 2, 0, size) for size in benchmark_workers.MESSAGES]
    assert len(rows) == 2 * len(blocks)
    assert all(row["ms"] > 0 for row in rows)
