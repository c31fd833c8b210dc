"""Measures meta-training steps of the paper's experiments on this machine.

python -m scripts.benchmark
python -m scripts.benchmark --workload=omniglot_5way_1shot --workload=sinusoid_loop --csv=benchmark.csv
python -m scripts.benchmark --peers --csv=docs/benchmark_peers.csv
python -m scripts.benchmark --against=9b8b6c5 --csv=docs/benchmark_against.csv

Each workload runs in a new process, on random data of the right shapes, so no dataset is needed. The columns:

  ms/step     median time of a meta-training step, Adam included, after warm-up steps
  IQR ms      interquartile range of that time
  GFLOP       floating-point operations of a step, counted from the network's shapes (see scripts/flops.py); not counted
              for variants
  GFLOP/s     GFLOP of a step divided by its time
  of sgemm    GFLOP/s as a share of NumPy's rate for 2048 x 2048 float32 matrices on the CPU; not given on a GPU
  peak MB     peak memory of the process; on a GPU, + the peak memory of the GPU
  first s     seconds from the start of the process to the end of the first step (in sinusoid_loop, of the first 100)
  overhead    only of training_loop: the time that drawing tasks, writing summaries and showing progress add to a bare
              step, relative to the time of the bare step; blocks of 100 steps, each with one summary, alternate with
              blocks of 100 bare steps

--peers also measures PyTorch and JAX, where they are installed (requirements/peers.txt); --against also measures an
earlier commit of this clone. Both measure in turns: in each turn, every party does an equal block of steps. With
--peers, each party keeps its processes for all turns; with --against, each block has a new process. A table shows
medians and the ratio of each party's time to ours.
Before timing, the meta-gradient of each peer is compared with ours in float64; a relative difference above 1e-4 is an
error. The csv of both keeps the rows of workloads that are not measured now; without them, it has this call's rows.
`scripts.reproduce --write_results` writes the tables of the documentation from docs/benchmark_peers.csv and
docs/benchmark_against.csv, and `scripts.docs_figures --picture=benchmark` draws the picture.
"""

import importlib.metadata
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from data_generators.errors import UserError
from data_generators.files import check_writable
from maml_tf.runs import process, style
from maml_tf.runs.flags import Flags, command
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.variants import PRESETS, preset
from scripts import benchmark_turns
from scripts.served import ROOT


class Workload(NamedTuple):
    """What to measure.

    settings: settings of the Experiment that differ from the paper's.
    steps: number of steps to time, unless --steps is given.
    kind: see `benchmark_worker.measure`.
    """

    settings: dict
    steps: int
    kind: str = "steps"


WORKLOADS = {
    "omniglot_5way_1shot": Workload({"datasource": "omniglot"}, 100),
    "omniglot_5way_1shot_first_order": Workload({"datasource": "omniglot", "stop_grad": True}, 100),
    "omniglot_5way_1shot_no_conv": Workload({"datasource": "omniglot", "conv": False}, 200),
    "omniglot_5way_5shot": Workload({"datasource": "omniglot", "update_batch_size": 5}, 30),
    "omniglot_20way_1shot": Workload({"datasource": "omniglot", "num_classes": 20}, 30),
    "miniimagenet_5way_1shot": Workload({"datasource": "miniimagenet"}, 20),
    "sinusoid": Workload({"datasource": "sinusoid"}, 2000),
    "sinusoid_loop": Workload({"datasource": "sinusoid"}, 5000, "compiled_loop"),
    "training_loop": Workload({"datasource": "omniglot"}, 400, "training_loop"),
}


def _variant(name):
    settings = preset(name, {"datasource": "omniglot", "num_classes": 5})
    shots = settings.pop("train_update_batch_size", 1)
    return Workload({"update_batch_size": shots} | settings, 40)


WORKLOADS |= {f"omniglot_5way_1shot_{name}": _variant(name) for name in PRESETS if name != "fomaml"}


class Column(NamedTuple):
    """A column of the table: its title, its width (negative: aligned to the left), and a function row -> text."""

    title: str
    width: int
    text: Callable[[dict], str]


def _show(key, spec):
    """Returns a function of a row that formats one of its entries; None becomes "-"."""
    return lambda row: "-" if row[key] is None else format(row[key], spec)


def _significant(key, digits):
    """Returns a function as `_show` does, for a non-negative entry: it gives `digits` digits and no exponent."""

    def text(row):
        if row[key] is None:
            return "-"
        places = digits - 1 - math.floor(math.log10(row[key])) if row[key] else 0
        return format(row[key], f".{max(places, 0)}f")

    return text


def _task_axis(row):
    return row["task_axis"] + (" + XLA" if row["jit"] else "")


def _memory(row):
    return _show("peak_mb", ".0f")(row) + ("" if row["gpu_peak_mb"] is None else f" + {row['gpu_peak_mb']:.0f}")


COLUMNS = (
    Column("workload", -max(map(len, WORKLOADS)), _show("workload", "")),
    Column("task axis", -15, _task_axis),
    Column("ms/step", 8, _significant("ms_per_step", 3)),
    Column("IQR ms", 7, _significant("ms_iqr", 2)),
    Column("GFLOP", 7, _significant("gflop_per_step", 3)),
    Column("GFLOP/s", 7, _significant("gflop_per_second", 3)),
    Column("of sgemm", 8, _show("sgemm_share", ".1%")),
    Column("peak MB", 11, _memory),
    Column("first s", 7, _show("first_step_seconds", ".1f")),
    Column("overhead", 8, _show("overhead", ".1%")),
)


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.several("workload", WORKLOADS, "what to measure; default: all")
    steps = "steps to time; the loops round it to hundreds; default: 20 to 5000, by workload"
    flags.integer("steps", None, steps, least=1, most=10**9)
    flags.path("csv", None, "file that the table is also written to")
    flags.choice("task_axis", "auto", ["auto", "map", "vectorize"], "as in main.py")
    flags.choice("jit", "auto", ["auto", "true", "false"], "as in main.py")
    flags.boolean("peers", False, "measure PyTorch and JAX in turns with this project")
    flags.string("against", None, "commit to measure in turns with these files")
    flags.exclusive("peers", "against", "are two comparisons")
    turns = "how often --peers and --against measure each; default: 5"
    flags.integer("turns", None, turns, least=1, most=10**4)


def run(flags: Flags) -> int:
    """Runs the workloads and prints a row for each; returns the exit code."""
    if flags.peers or flags.against:
        if (flags.task_axis, flags.jit) != ("auto", "auto"):
            raise UserError("--peers and --against measure what is usual: leave out --task_axis and --jit")
        workloads = {name: WORKLOADS[name] for name in flags.workload or WORKLOADS}
        return benchmark_turns.run(workloads, flags.turns or 5, flags.csv, flags.steps, flags.against)
    if flags.turns:
        raise UserError("--turns is of --peers and --against: leave it out, or give one of them")
    if flags.csv:
        check_writable(flags.csv)  # now rather than after minutes of measuring
    sgemm = sgemm_rate()
    rows, failures = [], 0
    for name in flags.workload or WORKLOADS:
        try:
            rows.append(_measure(name, flags, sgemm))
        except subprocess.CalledProcessError as error:
            failures += 1
            print(f"{name} failed:\n{error.stderr}", file=sys.stderr)
            continue
        if len(rows) == 1:
            version = importlib.metadata.version("tensorflow")
            print(f"TensorFlow {version} on {rows[0]['device']}; NumPy's sgemm does {sgemm:.0f} GFLOP/s\n")
            print(_line(column.title for column in COLUMNS))
        print(_line(column.text(rows[-1]) for column in COLUMNS), flush=True)
        if flags.csv:
            style.write_csv(flags.csv, rows)
    return 1 if failures else 0


def _measure(name, flags, sgemm):
    """Measures a workload; returns its row of the table."""
    workload = WORKLOADS[name]
    steps, jit = flags.steps or workload.steps, {"auto": "auto", "true": True, "false": False}[flags.jit]
    how = {"kind": workload.kind, "task_axis": flags.task_axis, "jit": jit}
    row = {"workload": name, **measured(workload.settings, steps=steps, **how)}
    unknown = row["gpu_peak_mb"] is not None or row["gflop_per_second"] is None
    return row | {"sgemm_share": None if unknown else row["gflop_per_second"] / sgemm}


def measured(settings: dict, **how: Any) -> dict:
    """Runs `benchmark_worker.measure` in a new process for an Experiment with these settings; returns what it measured.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    environment = process.kernel_environment(Experiment.of(**settings).image_side)
    request = {"settings": settings, "kind": "steps", "started": time.time()} | how
    return json.loads(_printed("scripts.benchmark_worker", json.dumps(request), **environment).splitlines()[-1])


def sgemm_rate() -> float:
    """Returns this machine's rate of matrix products in GFLOP/s, measured by `flops.sgemm` in a new process."""
    return float(_printed("scripts.flops"))


def _printed(module, *arguments, **environment):
    """Runs a module in a new process, with additions to the environment; returns what it prints."""
    process = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        process, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout


def _line(texts):
    cells = (
        f"{text:<{-c.width}}" if c.width < 0 else f"{text:>{c.width}}" for c, text in zip(COLUMNS, texts, strict=True)
    )
    return "  ".join(cells).rstrip()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
