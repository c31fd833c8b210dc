"""Measures meta-training steps of one process on all cores against workers that share these cores, in turns.

python -m scripts.benchmark_workers
python -m scripts.benchmark_workers --workload=omniglot_5way_1shot --workload=sinusoid_loop --csv=scaling.csv

Every turn measures an equal block of steps of each kind, so a machine that slows down affects all of them:

  one process     one process on all cores
  workers         several processes that share the meta-batch and the cores
  on one core     one process on one core, with the whole meta-batch and with a quarter of it, which gives the cost of a
                  task and the fixed cost of a step

It also measures means over the workers by messages of several sizes. The csv has a row for every block: `workload`;
`what` was measured, step or mean; the number of `workers`; the number of `cores` in all; `tasks` in a meta-batch;
`bytes` of the message of a step or mean; `turn`; `ms` of one step or mean; the `machine` and its `load`, the load
average of the minute before the command began. `scripts.plot_scaling` calculates from these rows how more workers would
scale, and draws it.
"""

import contextlib
import json
import os
import statistics
import sys

from data_generators.files import check_writable
from maml_tf.runs import process, style
from maml_tf.runs.flags import Flags, command
from maml_tf.supervised.experiment import Experiment
from scripts.benchmark import WORKLOADS
from scripts.figures import scaling
from scripts.served import Served, machine

MESSAGES = 4, 60_000, 448_000, 1_600_000, 4_000_000, 16_000_000  # bytes
_USUAL = "omniglot_5way_1shot"
_IN_BLOCK = 10  # a block asks for this many means (one call does 20), or a tenth of the steps of `scripts.benchmark`


def define(flags: Flags) -> None:
    """Defines the flags."""
    known = [name for name, workload in WORKLOADS.items() if workload.kind != "training_loop"]
    flags.several("workload", known, f"workload whose steps are measured; default: {_USUAL}")
    flags.integer("workers", 2, "number of workers, which share the cores", least=2, most=1024)
    flags.integer("turns", 5, "how often each block is measured", least=1)
    flags.integer("steps", None, "steps of a block; default: 2 to 500, by workload", least=1)
    flags.path("csv", None, "file to which the blocks are written")


def run(flags: Flags) -> None:
    """Measures, prints the medians and writes the blocks."""
    if flags.csv:
        check_writable(flags.csv)  # now rather than after minutes of measuring
    here = {"machine": machine(), "load": round(os.getloadavg()[0], 1)}
    rows: list[dict] = []
    for name in flags.workload or [_USUAL]:
        rows += [{"workload": name} | row | here for row in _measure(name, flags, with_means=not rows)]
        if flags.csv:
            style.write_csv(flags.csv, rows)
    print(f"{here['machine']}; {here['load']} processes wanted to run at the start\n")
    print("\n".join(style.aligned([("workload", "what", "workers", "cores", "tasks", "bytes", "ms"), *_medians(rows)])))
    for name in dict.fromkeys(row["workload"] for row in rows):
        ratios = f"{scaling.ratio(rows, name):.3f} of the tasks per second of one process on all cores"
        print(f"\n{name}: {ratios}, {scaling.ratio_of_fastest(rows, name):.3f} by the fastest block of each")


def _medians(rows):
    """Returns the lines of the table: the medians over the turns."""
    blocks: dict[tuple, list[float]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("workload", "what", "workers", "cores", "tasks", "bytes"))
        blocks.setdefault(key, []).append(row["ms"])
    return [(*key, f"{statistics.median(values):.3g}") for key, values in blocks.items()]


def _measure(name, flags, with_means):
    """Measures a workload; returns its rows."""
    workload, cores, count = WORKLOADS[name], process.available_cores(), flags.workers
    experiment = Experiment.of(**workload.settings)
    tasks, steps = experiment.meta_batch_size, flags.steps or max(1, workload.steps // _IN_BLOCK)
    request = {"settings": workload.settings, "kind": workload.kind, "serve": True}
    environment = process.kernel_environment(experiment.image_side)
    launcher = ["scripts.local_workers", f"--workers={count}", "--restarts=0", "-m"]
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(_served(request, environment))
        workers = stack.enter_context(_served(request, environment, launcher))
        slow = stack.enter_context(_served(request | {"cores": 1}, environment))
        sizes = (one, 1, cores, tasks), (workers, count, cores, tasks), (slow, 1, 1, tasks), (slow, 1, 1, tasks // 4)
        blocks = [
            (served, {"tasks": size, "steps": steps}, ("step", number, on, size, served.first["bytes"]))
            for served, number, on, size in sizes
        ]
        for size in MESSAGES if with_means else ():
            blocks.append((workers, {"bytes": size, "steps": _IN_BLOCK}, ("mean", count, cores, 0, size)))
        for served, asked, _ in blocks:
            served.ask(asked)  # to warm up
        names = "what", "workers", "cores", "tasks", "bytes"
        return [
            dict(zip(names, row, strict=True)) | {"turn": turn, "ms": served.ask(asked)["ms"]}
            for turn in range(flags.turns)
            for served, asked, row in blocks
        ]


def _served(request, environment, launcher=()):
    return Served([*launcher, "scripts.benchmark_worker", json.dumps(request)], environment)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
