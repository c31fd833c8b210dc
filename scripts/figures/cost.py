"""Models how the time and memory of a meta-training step grow, by a fit to rows of `scripts.benchmark_cost`."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_generators.errors import UserError
from maml_tf.runs import style
from maml_tf.supervised.experiment import Experiment
from scripts import flops
from scripts.benchmark_cost import SETTINGS, Point, kind, point_of, usual_point

SIZE = 8.8, 4.4
_TOO_FEW = "there are too few points for the model: measure more by python -m scripts.benchmark_cost --csv=FILE"


class Terms(NamedTuple):
    """The quantities that the cost of a step depends on, computed from the shapes alone.

    gflop: floating-point operations of its convolutions and dense products, in 1e9 (see `scripts.flops`).
    numbers: how many numbers these products output, in 1e6; normalisation, ReLU and pooling process each of them.
    passes: passes of all tasks through the network, one for each inner update and one for the queries.
    kept: how many numbers a task keeps for its gradient, in 1e6: to second order, the outputs of the queries and of
        each update's support; to first order, the outputs of the queries or of the support, whichever are more.
    data: how many numbers the images of the meta-batch have, in 1e6.
    """

    gflop: float
    numbers: float
    passes: int
    kept: float
    data: float


def terms(of: Point) -> Terms:
    """The Terms of a Point."""
    experiment = Experiment.of(**of.settings())
    shape, layers = _network(of.datasource, of.ways, of.filters)
    support, query = of.ways * of.shots, of.ways * (experiment.dataset.queries or of.shots)
    sizes = {"tasks": of.tasks, "support": support, "query": query, "num_updates": of.updates}
    products = flops.products(len(layers), **sizes, first_order=bool(of.first_order))
    pairs = list(zip(products, layers, strict=True))
    outputs = sum(layer.outputs for layer in layers)
    return Terms(
        gflop=sum(2 * number * layer.multiply_adds for number, layer in pairs) / 1e9,
        numbers=sum(number * layer.outputs for number, layer in pairs) / 1e6,
        passes=of.tasks * (of.updates + 1),
        kept=(max(support, query) if of.first_order else query + of.updates * support) * outputs / 1e6,
        data=of.tasks * (support + query) * math.prod(shape) / 1e6,
    )


@functools.cache
def _network(datasource, ways, filters):
    """Returns (shape of an image, `flops.layers_of` of the network)."""
    experiment = Experiment.of(datasource=datasource, num_classes=ways, num_filters=filters)
    shape, outputs = experiment.dataset.shapes(experiment)
    return shape, flops.layers_of(experiment.dataset.network(experiment, shape, outputs))


class Model(NamedTuple):
    """The constants of the model of the cost, for a datasource on a machine.

        ms = gflop / (share * sgemm) * 1000 + number_ms * numbers + pass_ms * passes
        mb = base_mb + kept_bytes * cores * kept + data_bytes * data

    share: share of the rate of matrix products that the step reaches.
    number_ms: milliseconds for a million numbers.
    pass_ms: milliseconds of a pass, whatever its size.
    base_mb: MB of the libraries, the graph and the weights.
    kept_bytes, data_bytes: bytes for each number that is kept, and for each number of the data.
    """

    share: float
    number_ms: float
    pass_ms: float
    base_mb: float
    kept_bytes: float
    data_bytes: float

    def ms(self, of: Terms, sgemm: float) -> float:
        """Predicts the milliseconds of a step; sgemm: the machine's rate of matrix products in GFLOP/s."""
        return 1e3 * of.gflop / (self.share * sgemm) + self.number_ms * of.numbers + self.pass_ms * of.passes

    def mb(self, of: Terms, cores: int) -> float:
        """Predicts the peak memory in MB; cores: number of tasks that are computed at the same time."""
        return self.base_mb + self.kept_bytes * cores * of.kept + self.data_bytes * of.data


def fit(rows: Sequence[dict]) -> Model:
    """Fits the Model to the rows of one datasource by least squares of the relative errors, with no constant below 0.

    Raises:
        UserError: there are too few rows.
    """
    found = [(terms(point_of(row)), row) for row in rows]
    time = [(1e3 * of.gflop / row["sgemm"], of.numbers, of.passes) for of, row in found]
    memory = [(1, row["cores"] * of.kept, of.data) for of, row in found]
    by_flop, *times = _least_squares(time, [row["ms"] for row in rows])
    return Model(1 / by_flop if by_flop else math.inf, *times, *_least_squares(memory, [row["mb"] for row in rows]))


def _least_squares(columns, measured):
    """Fits constants by least squares of the relative errors; while any is negative, the most negative is set to 0."""
    relative = np.array(columns, float) / np.array(measured)[:, None]
    if len(relative) <= relative.shape[1]:
        raise UserError(_TOO_FEW)
    constants, live = np.zeros(relative.shape[1]), list(range(relative.shape[1]))
    while live:
        found = np.linalg.lstsq(relative[:, live], np.ones(len(relative)), rcond=None)[0]
        if (found >= 0).all():
            constants[live] = found
            break
        live.pop(int(np.argmin(found)))
    return constants.tolist()


class Curve(NamedTuple):
    """Points in which one setting grows while the others have their usual values.

    usual: the Point of the usual values.
    setting: name of the setting that grows.
    rows: rows of the csv, in ascending order of the setting.
    """

    usual: Point
    setting: str
    rows: list[dict]

    def values(self) -> list[int]:
        """Returns the values of the setting that grows."""
        return [row[self.setting] for row in self.rows]

    def exponent(self) -> float:
        """Returns the exponent e with which setting ** e is most nearly proportional to the measured time."""
        return float(np.polyfit(np.log(self.values()), np.log([row["ms"] for row in self.rows]), 1)[0])


def curves(rows: Sequence[dict]) -> list[Curve]:
    """Returns the Curves in the rows of a csv, through the usual point of each datasource and order."""
    found = []
    for name, first_order in dict.fromkeys(point_of(row)[:2] for row in rows):
        start = usual_point(name)._replace(first_order=first_order)
        for setting in SETTINGS:
            some = [row for row in rows if point_of(row)._replace(**{setting: getattr(start, setting)}) == start]
            if len(some) > 1:
                found.append(Curve(start, setting, sorted(some, key=lambda row: row[setting])))
    return found


def models(rows: Sequence[dict]) -> dict[str, Model]:
    """Fits the Model of each datasource; raises UserError if there are too few rows."""
    names = dict.fromkeys(row["datasource"] for row in rows)
    if not names:
        raise UserError(_TOO_FEW)
    return {name: fit([row for row in rows if row["datasource"] == name]) for name in names}


def predicted(row: dict, model: Model) -> tuple[float, float]:
    """Predicts (ms, MB) of a row by a Model."""
    of = terms(point_of(row))
    return model.ms(of, row["sgemm"]), model.mb(of, row["cores"])


def described(rows: Sequence[dict]) -> list[str]:
    """Returns lines: the machine, and a table of the constants and errors; raises UserError if points are too few."""
    of = models(rows)
    rates = sorted(row["sgemm"] for row in rows)
    loads = sorted(row["load"] for row in rows)
    lines = [
        f"{rows[0]['machine']}; matrix products at {rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s; {loads[0]:g} to "
        f"{loads[-1]:g} processes wanted to run.",
        "",
        "| datasource | share | ms a million numbers | ms a pass | base, MB | bytes kept | bytes of data "
        "| errors of time: mean, largest | of memory |",
        "|" + 9 * " --- |",
    ]
    for name, model in of.items():
        errors = np.array([_errors(row, model) for row in rows if row["datasource"] == name])
        texts = [f"{100 * mean:.0f} %, {100 * most:.0f} %" for mean, most in zip(*_mean_and_most(errors), strict=True)]
        share = "-" if math.isinf(model.share) else f"{100 * model.share:.0f} %"
        constants = [share, *(f"{value:.3g}" for value in model[1:])]
        lines.append(f"| {' | '.join([name, *constants, *texts])} |")
    return lines


def table(rows: Sequence[dict]) -> list[str]:
    """Returns the lines of a table: each curve with its exponent, and each of its points with the model's error."""
    of = models(rows)
    lines = ["| what grows | time grows as its power | ms (error of the model) | MB (error of the model) |"]
    lines.append("|" + 4 * " --- |")
    for curve in curves(rows):
        model = of[curve.usual.datasource]
        errors = [_errors(row, model) for row in curve.rows]
        cells = [
            ", ".join(
                f"{row[curve.setting]}: {row[unit]:,.0f} ({100 * error[i]:+.0f} %)"
                for row, error in zip(curve.rows, errors, strict=True)
            )
            for i, unit in enumerate(("ms", "mb"))
        ]
        what = f"{kind(curve.usual)}: {curve.setting}"
        lines.append(f"| {what} | {curve.exponent():.2f} | {' | '.join(cells)} |")
    return lines


def _errors(row, model):
    """Returns the relative errors of the predicted milliseconds and MB."""
    return [found / row[unit] - 1 for found, unit in zip(predicted(row, model), ("ms", "mb"), strict=True)]


def _mean_and_most(errors):
    sizes = np.abs(errors)
    return sizes.mean(axis=0), sizes.max(axis=0)


def draw(figure, rows: Sequence[dict]) -> None:
    """Draws time (above) and memory (below) against each setting that grows: measured points, and the model's lines."""
    of, panels = models(rows), figure.subplots(2, len(SETTINGS), sharex="col", sharey="row")
    colours = dict(zip(of, (style.BLUE, style.ORANGE, style.BLACK), strict=False))
    for curve in curves(rows):
        name, column = curve.usual.datasource, list(SETTINGS).index(curve.setting)
        first, colour = curve.usual.first_order, colours[name]
        found = [predicted(row, of[name]) for row in curve.rows]
        for i, unit in enumerate(("ms", "mb")):
            panel = panels[i, column]
            measured = [row[unit] for row in curve.rows]
            look = {"color": colour, "marker": "s" if first else "o", "markerfacecolor": "none" if first else colour}
            panel.plot(curve.values(), measured, linestyle="", label=kind(curve.usual), **look)
            panel.plot(curve.values(), [pair[i] for pair in found], color=colour, linestyle="--" if first else "-")
    for column, setting in enumerate(SETTINGS):
        above, below = panels[:, column]
        above.set_xscale("log", base=2)
        above.set_yscale("log")
        ticks = sorted({row[setting] for row in rows})
        below.set_xticks(ticks, map(str, ticks))
        below.minorticks_off()
        below.set_xlabel(setting)
    panels[0, 0].set_ylabel("ms a step")
    panels[1, 0].set_ylabel("MB")
    panels[1, 0].set_ylim(0, 1.1 * max(row["mb"] for row in rows))
    figure.suptitle("measured (marks) and by the model (lines)", fontsize=9)
    style.legend_below(figure, max(panels[0], key=lambda panel: len(panel.lines)))
