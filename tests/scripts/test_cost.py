"""How the cost of a step grows: what is measured, the model compared with numbers by hand, and the page."""

import json
import subprocess

import pytest

from maml_tf.runs import style
from scripts import benchmark, benchmark_cost, docs_figures, plot_cost
from scripts.benchmark_cost import RANGES, SETTINGS, Point
from scripts.figures import cost
from scripts.figures.cost import Model
from tests.scripts.test_docs_figures import FIGURES

USUAL = Point("omniglot", 0, tasks=32, shots=1, ways=5, updates=1, filters=64)
BY_HAND = Model(share=0.5, number_ms=2.0, pass_ms=0.25, base_mb=700, kept_bytes=30, data_bytes=8)
# Omniglot's strided convolutions of 64 filters map 28 -> 14 -> 7 -> 4 -> 2.
OUTPUTS = 64 * (14**2 + 7**2 + 4**2 + 2**2) + 5


def rows(model=BY_HAND):
    """The rows of all Omniglot's points, with the numbers that the model predicts."""
    found = []
    for point in benchmark_cost.points(["omniglot"], SETTINGS):
        of = cost.terms(point)
        sizes = {"ms": model.ms(of, 100.0), "iqr": 0.0, "mb": model.mb(of, 2), "sgemm": 100.0}
        found.append(point._asdict() | sizes | {"machine": "some, 2 cores", "cores": 2, "load": 0.5})
    return found


def test_the_usual_point_is_the_papers_and_in_the_middle_of_every_range():
    for name, ranges in RANGES.items():
        usual = benchmark_cost.usual_point(name)
        assert all(getattr(usual, setting) in values for setting, values in ranges.items())
    assert benchmark_cost.usual_point("omniglot") == USUAL
    assert benchmark_cost.usual_point("miniimagenet") == Point("miniimagenet", 0, 4, 1, 5, 5, 32)


def test_points_are_measured_once_second_order_first():
    points = list(benchmark_cost.points(RANGES, SETTINGS))
    assert len(points) == len(set(points))
    assert points[0] == USUAL
    assert [point.first_order for point in points] == sorted(point.first_order for point in points)
    of_tasks = [p.tasks for p in benchmark_cost.points(["miniimagenet"], ["tasks"])]
    assert of_tasks == [4, 1, 2, 8, 16, 4, 1, 16]  # the last three are first order


def test_terms_of_the_usual_step():
    of = cost.terms(USUAL)
    assert of.gflop == pytest.approx(10, rel=0.002)  # see test_flops.py
    # 32 tasks of 5 support and 5 query images: 6 products for a pair of them in the first layer, 12 in the others.
    first = 64 * 14**2
    assert of.numbers == pytest.approx(32 * 5 * (6 * first + 12 * (OUTPUTS - first)) / 1e6)
    assert of.passes == 32 * 2
    assert of.kept == pytest.approx((5 + 5) * OUTPUTS / 1e6)
    assert of.data == pytest.approx(32 * 10 * 28**2 / 1e6)


def test_first_order_keeps_the_larger_pass():
    point = Point("miniimagenet", 1, tasks=4, shots=5, ways=5, updates=5, filters=32)
    outputs = 32 * (84**2 + 42**2 + 21**2 + 10**2) + 5
    assert cost.terms(point).kept == pytest.approx(75 * outputs / 1e6)
    assert cost.terms(point._replace(shots=20)).kept == pytest.approx(100 * outputs / 1e6)
    assert cost.terms(point._replace(first_order=0)).kept == pytest.approx((75 + 5 * 25) * outputs / 1e6)


def test_the_model_by_hand():
    of = cost.Terms(gflop=10, numbers=20, passes=64, kept=2, data=0.5)
    # 10 GFLOP at half of 100 GFLOP/s are 200 ms.
    assert BY_HAND.ms(of, sgemm=100) == pytest.approx(200 + 2 * 20 + 0.25 * 64)
    assert BY_HAND.mb(of, cores=2) == pytest.approx(700 + 30 * 2 * 2 + 8 * 0.5)


def test_the_fit_finds_the_model_that_made_the_points():
    assert cost.fit(rows())._asdict() == pytest.approx(BY_HAND._asdict(), rel=1e-6)


def test_no_constant_is_below_zero():
    found = rows()
    for row in found:
        row["ms"] -= BY_HAND.pass_ms * 1.5 * cost.terms(benchmark_cost.point_of(row)).passes
    model = cost.fit(found)
    assert model.pass_ms == 0
    assert min(model) >= 0


def test_curves_and_their_exponents():
    usual_last = rows()[::-1]
    found = {(curve.usual.first_order, curve.setting): curve for curve in cost.curves(usual_last)}
    assert len(found) == 2 * len(SETTINGS)
    assert found[0, "filters"].values() == [16, 32, 64, 128, 256]
    assert found[0, "tasks"].exponent() == pytest.approx(1)  # every term is proportional to the tasks
    assert 1 < found[0, "filters"].exponent() < 2


def test_the_picture_has_marks_and_lines():
    figure = style.make(cost.draw, rows(), *cost.SIZE)
    assert len(figure.axes) == 10
    marks, line = figure.axes[0].lines[:2]  # time against tasks, second order
    assert marks.get_xdata().tolist() == [8, 16, 32, 64, 128]
    assert marks.get_ydata() == pytest.approx(line.get_ydata())
    assert figure.axes[5].get_ylabel() == "MB"


def test_points_that_the_csv_has_are_not_measured_again(call, tmp_path, monkeypatch):
    def measured(settings, steps):
        asked.append(settings)
        if settings["meta_batch_size"] == 128:
            raise subprocess.CalledProcessError(1, "worker", stderr="out of memory")
        return {"ms_per_step": 2.5, "ms_iqr": 0.5, "peak_mb": 700.0}

    asked = []
    monkeypatch.setattr(benchmark_cost, "measured", measured)
    monkeypatch.setattr(benchmark_cost, "sgemm_rate", lambda: 100.0)
    flags = "--datasource=omniglot", "--vary=tasks"
    result = call(benchmark_cost.main, *flags)
    assert (result.returncode, "out of memory" in result.stderr) == (1, True)
    first = {"datasource": "omniglot", "stop_grad": False, "meta_batch_size": 32, "update_batch_size": 1}
    assert asked[0] == first | {"num_classes": 5, "num_updates": 1, "num_filters": 64}
    assert len(asked) == 5 + 3
    written = benchmark_cost.read(tmp_path / "cost.csv")
    assert [row["tasks"] for row in written] == [32, 8, 16, 64, 32, 8]
    assert (written[0]["ms"], written[0]["mb"], written[0]["sgemm"]) == (2.5, 700, 100)
    asked.clear()
    assert call(benchmark_cost.main, *flags).returncode == 1
    assert [settings["stop_grad"] for settings in asked] == [False, True]  # only the failed ones are measured again
    monkeypatch.setattr(benchmark_cost, "RANGES", RANGES | {"omniglot": {"tasks": (8, 32)}})
    assert call(benchmark_cost.main, *flags).stdout == "cost.csv has them all\n"
    style.write_csv(tmp_path / "cost.csv", [row | {"machine": "another"} for row in written])
    assert "cost.csv has points of another machine (another): give --csv" in call(benchmark_cost.main, *flags).stderr
    monkeypatch.setattr(benchmark_cost.process, "peak_memory", lambda: None)
    assert "does not tell how much memory" in call(benchmark_cost.main, *flags).stderr


def test_steps_are_few_where_one_takes_long():
    assert benchmark_cost._steps(USUAL) == 27
    assert benchmark_cost._steps(USUAL._replace(tasks=8)) == 30
    assert benchmark_cost._steps(USUAL._replace(filters=256)) == 7
    assert benchmark_cost._steps(benchmark_cost.usual_point("miniimagenet")) == 3


def test_a_point_is_measured_in_a_process_of_its_own(monkeypatch):
    def printed(module, request, **environment):
        assert (module, environment.get("TF_ENABLE_ONEDNN_OPTS", "1")) == ("scripts.benchmark_worker", "1")
        asked.append(json.loads(request))
        return 'a warning\n{"ms_per_step": 1.5}\n'

    asked = []
    monkeypatch.setattr(benchmark, "_printed", printed)
    settings = benchmark_cost.usual_point("miniimagenet").settings()
    assert benchmark.measured(settings, steps=3) == {"ms_per_step": 1.5}
    assert asked[0].pop("started") > 0
    assert asked == [{"settings": settings, "kind": "steps", "steps": 3}]


def test_the_page_has_the_tables_of_the_measurements(call, tmp_path):
    ((script, measured, out),) = docs_figures.commands()["cost"]
    assert (script, out) == ("plot_cost", "--out=docs/figures/cost.png")
    assert measured == "--measured=docs/figures/cost.csv"
    result = call(plot_cost.main, f"--measured={FIGURES / 'cost.csv'}", f"--out={tmp_path / 'cost.png'}")
    assert result.returncode == 0, result.stderr
    *lines, written = result.stdout.splitlines()
    assert written == str(tmp_path / "cost.png")
    page = (FIGURES.parent / "cost.md").read_text(encoding="utf-8")
    missing = [line for line in lines if line not in page]
    assert not missing, "copy what `python -m scripts.docs_figures --picture=cost` prints into docs/cost.md"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "measured.csv is damaged or cannot be read"),
        ("datasource,ms\nomniglot,1\n", "measured.csv is damaged or cannot be read"),
        ("", "there are too few points for the model"),
    ],
)
def test_a_file_without_the_points_is_told(call, tmp_path, content, said):
    if content is not None:
        (tmp_path / "measured.csv").write_text(content)
    result = call(plot_cost.main, "--measured=measured.csv")
    assert result.returncode == 2
    assert said in result.stderr
    assert "python -m scripts.benchmark_cost --csv=FILE" in result.stderr


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--vary=queries", "value should be one of <tasks|shots|ways|updates|filters>"),
        ("--steps=0", "--steps must be at least 1"),
        ("--csv=/dev/null/all.csv", "cannot write to /dev/null"),
    ],
)
def test_bad_flags_of_the_measurement(call, flag, complaint):
    result = call(benchmark_cost.main, flag)
    assert (result.returncode, complaint in result.stderr) == (2, True), result.stderr
