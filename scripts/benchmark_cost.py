"""Measures how the time and the memory of a meta-training step grow with tasks, shots, ways, inner updates and filters.

python -m scripts.benchmark_cost --csv=cost.csv
python -m scripts.benchmark_cost --csv=cost.csv --datasource=miniimagenet --vary=tasks --vary=updates

One of these grows while the others keep the paper's values for 5-way 1-shot learning. All points are measured to second
order; the ends of each range, and the paper's values, also to first order. Each point is measured in a new process, on
random data of the right shapes. The csv has a row for each point: `datasource`; `first_order`, 1 or 0; `tasks`,
`shots`, `ways`, `updates`, `filters`; the median time `ms` of a step, Adam included, and its interquartile range `iqr`;
`mb`, the peak memory of the process; `sgemm`, the machine's rate of matrix products in GFLOP/s; the `machine`, its
number of `cores`, and its `load`, the load average of the minute before.

Points that the csv has are not measured again, so the same command continues an interrupted measurement.
`scripts.plot_cost` draws the points and the predictions of a model of the cost.
"""

import math
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data_generators.errors import UserError
from data_generators.files import check_writable
from maml_tf.runs import process, style
from maml_tf.runs.flags import Flags, command
from maml_tf.supervised.experiment import Experiment
from scripts.benchmark import measured, sgemm_rate
from scripts.served import machine

# Names of what grows -> settings of an Experiment.
SETTINGS = {
    "tasks": "meta_batch_size",
    "shots": "update_batch_size",
    "ways": "num_classes",
    "updates": "num_updates",
    "filters": "num_filters",
}
# The values of each setting, by datasource; the paper's value is one of them.
RANGES = {
    "omniglot": {
        "tasks": (8, 16, 32, 64, 128),
        "shots": (1, 2, 3, 4),
        "ways": (2, 5, 10, 20),
        "updates": (1, 2, 3, 4),
        "filters": (16, 32, 64, 128, 256),
    },
    "miniimagenet": {
        "tasks": (1, 2, 4, 8, 16),
        "shots": (1, 2, 5),
        "ways": (2, 5, 10, 20),
        "updates": (1, 2, 5, 10),
        "filters": (8, 16, 32, 64),
    },
}
_A_STEP = {"omniglot": 0.15, "miniimagenet": 1.5}  # rough seconds of the usual step; those of others are scaled from it
_SECONDS, _LEAST, _MOST = 4.0, 3, 30  # seconds that the timed steps of a point should take; fewest and most steps


class Point(NamedTuple):
    """The kind and sizes of a step that is measured.

    first_order: 1 for first order, 0 for second order.
    """

    datasource: str
    first_order: int
    tasks: int
    shots: int
    ways: int
    updates: int
    filters: int

    def settings(self) -> dict[str, Any]:
        """Returns the settings of its Experiment."""
        sizes = {setting: getattr(self, name) for name, setting in SETTINGS.items()}
        return {"datasource": self.datasource, "stop_grad": bool(self.first_order)} | sizes


def point_of(row: dict) -> Point:
    """The Point of a row."""
    return Point(*(row[name] for name in Point._fields))


def kind(of: Point) -> str:
    """The datasource and the order of a Point, in words."""
    return f"{of.datasource}, {'first' if of.first_order else 'second'} order"


def read(path: str | Path) -> list[dict]:
    """Reads the rows of a csv that `scripts.benchmark_cost` has written.

    Raises:
        UserError: the file cannot be read, or is another csv.
    """
    numbers: dict[str, type] = dict.fromkeys(("ms", "iqr", "mb", "sgemm", "load"), float)
    numbers |= dict.fromkeys(("cores", *Point._fields[1:]), int)
    return style.read_csv(path, numbers, "write it by python -m scripts.benchmark_cost --csv=FILE")


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.path("csv", "cost.csv", "file of the points, to which those that it lacks are added")
    flags.several("datasource", RANGES, "data sets whose steps are measured; default: all")
    flags.several("vary", SETTINGS, "settings that grow, one at a time; default: each")
    steps = f"steps to time at each point; default: {_LEAST} to {_MOST}, about {_SECONDS:g} s"
    flags.integer("steps", None, steps, least=1, most=10**6)


def run(flags: Flags) -> int:
    """Measures the points that the csv lacks; returns the exit code."""
    check_writable(flags.csv)
    if process.peak_memory() is None:
        raise UserError("this system does not tell how much memory a process held: measure on Linux or macOS")
    rows = read(flags.csv) if flags.csv.exists() else []
    if others := sorted({row["machine"] for row in rows} - {machine()}):
        raise UserError(f"{flags.csv} has points of another machine ({', '.join(others)}): give --csv another file")
    known = {point_of(row) for row in rows}
    wanted = [point for point in points(flags.datasource or RANGES, flags.vary or SETTINGS) if point not in known]
    if not wanted:
        print(f"{flags.csv} has them all")
        return 0
    sgemm, failures = sgemm_rate(), 0
    for number, point in enumerate(wanted, start=1):
        load = round(os.getloadavg()[0], 1)
        try:
            found = measured(point.settings(), steps=flags.steps or _steps(point))
        except subprocess.CalledProcessError as error:
            failures += 1
            print(f"{kind(point)} {point[2:]} failed:\n{error.stderr}", file=sys.stderr)
            continue
        ms, mb = found["ms_per_step"], found["peak_mb"]
        rows.append(point._asdict() | {"ms": ms, "iqr": found["ms_iqr"], "mb": mb, "sgemm": sgemm})
        rows[-1] |= {"machine": machine(), "cores": process.available_cores(), "load": load}
        style.write_csv(flags.csv, rows)
        sizes = ", ".join(f"{getattr(point, name)} {name}" for name in SETTINGS)
        print(f"{number} of {len(wanted)}: {kind(point)}, {sizes}: {ms:,.0f} ms, {mb:,.0f} MB", flush=True)
    return 1 if failures else 0


def points(datasources: Collection[str], varied: Collection[str]) -> Iterator[Point]:
    """Yields every point once: second order before first order, and each datasource's usual point before its others."""
    found = {}
    for first_order in (0, 1):
        for name in datasources:
            usual = usual_point(name)._replace(first_order=first_order)
            found[usual] = True
            for setting in varied:
                values = RANGES[name][setting]
                for value in (values[0], values[-1]) if first_order else values:
                    found[usual._replace(**{setting: value})] = True
    yield from found


def usual_point(datasource: str) -> Point:
    """Returns the Point of the paper's 5-way 1-shot learning, second order."""
    paper = Experiment.of(datasource=datasource)
    return Point(datasource, 0, *(getattr(paper, name) for name in SETTINGS.values()))


def _steps(point):
    """Returns how many steps to time, as if the time of a step were proportional to the product of its sizes."""
    here, usual = (math.prod(p[2:]) for p in (point, usual_point(point.datasource)))
    return min(_MOST, max(_LEAST, round(_SECONDS / (_A_STEP[point.datasource] * here / usual))))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    interrupted = "interrupted; run the same command again to measure the other points"
    return command(__doc__, define, run, arguments, interrupted=interrupted)


if __name__ == "__main__":
    sys.exit(main())
