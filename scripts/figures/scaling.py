"""Calculates how a step scales to many workers, from what `scripts.benchmark_workers` measures on one machine."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from maml_tf.runs import style

SIZE = 8.8, 3.9
WORKERS = [2**i for i in range(1, 9)]
NETWORKS = {10: "--", 100: "-"}  # Gbit/s -> line style
META_BATCHES = {32: (style.ORANGE, "o"), 256: (style.BLUE, "s"), 2048: (style.BLACK, "^")}
ENOUGH, _SHOWN = 0.9, 256


class Parts(NamedTuple):
    """The parts of the time of a step; a worker is a process on one core.

    task_ms: milliseconds of computation for each task.
    fixed_ms: milliseconds of computation that do not depend on the number of tasks.
    bytes: bytes of the message of a step: meta-gradients, metrics and the weight of the mean, 4 each.
    latency_ms: milliseconds of a message from one worker to the next, without the time of its bytes.
    ms_per_byte: milliseconds to pack, copy and add up a byte, whatever the network between the workers.
    """

    task_ms: float
    fixed_ms: float
    bytes: int
    latency_ms: float
    ms_per_byte: float


def parts(rows: Sequence[dict], workload: str) -> Parts:
    """Calculates the parts from the rows of the csv of `scripts.benchmark_workers`, by medians over the turns.

    A step of B tasks on one core takes fixed + B task; it was measured for the whole meta-batch and for a quarter of
    it. Among n workers, a mean of 4 bytes takes 2 (n - 1) latencies; a mean of the largest message takes 2 (n - 1) / n
    times the time of its bytes in addition.
    """
    step = {
        size: ms for (kind, n, cores, size), ms in medians(rows, workload).items() if (kind, n * cores) == ("step", 1)
    }
    mean = {size: (n, ms) for (kind, n, _, size), ms in medians(rows).items() if kind == "mean"}
    (few, few_ms), (many, many_ms) = sorted(step.items())
    task = (many_ms - few_ms) / (many - few)
    (_, (n, least_ms)), *_, (most, (_, most_ms)) = sorted(mean.items())
    (size,) = {row["bytes"] for row in rows if (row["workload"], row["what"]) == (workload, "step")}
    latency, per_byte = least_ms / (2 * (n - 1)), (most_ms - least_ms) / (2 * (n - 1) / n * most)
    return Parts(task, max(0.0, few_ms - few * task), size, latency, per_byte)


def medians(rows: Sequence[dict], workload: str | None = None) -> dict[tuple, float]:
    """Returns median milliseconds by (what, workers, cores, tasks of a step or bytes of a mean)."""
    found: dict[tuple, list[float]] = {}
    for row in rows:
        if workload in (None, row["workload"]):
            size = row["tasks" if row["what"] == "step" else "bytes"]
            key = row["what"], row["workers"], row["cores"], size
            found.setdefault(key, []).append(row["ms"])
    return {key: statistics.median(values) for key, values in found.items()}


def ratio(rows: Sequence[dict], workload: str) -> float:
    """Returns tasks per second of the workers over those of one process on as many cores: the median over the turns."""
    return statistics.median(one / workers for one, workers in _compared(rows, workload))


def ratio_of_fastest(rows: Sequence[dict], workload: str) -> float:
    """Returns the `ratio` of the fastest blocks, those that other work on a shared machine has slowed down least."""
    ones, workers = zip(*_compared(rows, workload), strict=True)
    return min(ones) / min(workers)


def _compared(rows, workload):
    """Returns (ms of one process, ms of the workers on as many cores) for every turn."""
    steps = [row for row in rows if (row["workload"], row["what"]) == (workload, "step")]
    workers = {row["turn"]: row for row in steps if row["workers"] > 1}
    same = {turn: (1, row["cores"], row["tasks"]) for turn, row in workers.items()}
    ones = [row for row in steps if (row["workers"], row["cores"], row["tasks"]) == same[row["turn"]]]
    return [(one["ms"], workers[one["turn"]]["ms"]) for one in ones]


def all_reduce_ms(parts: Parts, workers: int, gbit: float) -> tuple[float, float]:
    """Returns the milliseconds that a ring all-reduce takes for its bytes, and for its latencies.

    In a ring of n workers, each sends 1 / n of the message 2 (n - 1) times: to add up, and then to pass on the sums.

        bytes:      2 (n - 1) / n * bytes * (1 / bandwidth + ms_per_byte)
        latencies:  2 (n - 1) * latency

    Args:
        parts: Parts.
        workers: number n of workers.
        gbit: bandwidth of the network between two workers, in Gbit/s.
    """
    per_byte = 8 / (gbit * 1e6) + parts.ms_per_byte
    return 2 * (workers - 1) / workers * parts.bytes * per_byte, 2 * (workers - 1) * parts.latency_ms


def step_ms(parts: Parts, workers: int, tasks: int, gbit: float) -> dict[str, float]:
    """Returns the milliseconds of each part of a step, which takes their sum: tasks + fixed + bytes + latency.

    The part of the tasks is that of the worker with the most tasks, ceil(tasks / workers).
    """
    by_bytes, by_latency = all_reduce_ms(parts, workers, gbit)
    share = math.ceil(tasks / workers) * parts.task_ms
    return {"tasks": share, "fixed": parts.fixed_ms, "bytes": by_bytes, "latency": by_latency}


def efficiency(parts: Parts, workers: int, tasks: int, gbit: float) -> float:
    """Returns the tasks per second of n workers, divided by n times those of one worker: t(1) / (n t(n))."""
    alone, together = (sum(step_ms(parts, n, tasks, gbit).values()) for n in (1, workers))
    return alone / (workers * together)


def meta_batch_for(parts: Parts, wanted: float, workers: int, gbit: float) -> int:
    """Returns the smallest meta-batch, a multiple of the number of workers, that reaches the wanted efficiency.

    With B tasks, n workers and c for the all-reduce, (fixed + B task) / (n fixed + B task + n c) >= e if

        B >= (e n (fixed + c) - fixed) / ((1 - e) task)
    """
    more = wanted * workers * (parts.fixed_ms + sum(all_reduce_ms(parts, workers, gbit))) - parts.fixed_ms
    return workers * max(1, math.ceil(more / ((1 - wanted) * parts.task_ms) / workers))


def described(parts: Parts, rows: Sequence[dict]) -> list[str]:
    """Describes what was measured, in sentences and a table of the steps."""
    machine = f"{rows[0]['machine']}; {rows[0]['load']:g} processes wanted to run before."
    lines = [
        "| workload | one process on all cores, ms | workers, ms | tasks per second, to one process |",
        "|" + 4 * " --- |",
    ]
    for name in dict.fromkeys(row["workload"] for row in rows):
        step = {
            n: (cores, size, ms)
            for (what, n, cores, size), ms in medians(rows, name).items()
            if what == "step" and n > 1
        }
        ((n, (cores, size, ms)),) = step.items()
        one = medians(rows, name)["step", 1, cores, size]
        lines.append(f"| `{name}` | {one:.3g} | {n} workers: {ms:.3g} | {ratio(rows, name):.2f} |")
    return [
        *lines,
        machine,
        (
            f"Parts: {parts.task_ms:.3g} ms a task, {parts.fixed_ms:.3g} ms fixed, a message of {parts.bytes:,} bytes, "
            f"{parts.latency_ms:.3g} ms a latency, {1e6 * parts.ms_per_byte:.3g} ms to pack, copy and add up a MB."
        ),
    ]


def table(parts: Parts) -> list[str]:
    """Returns the lines of a table: per number of workers, the all-reduce, efficiencies, and meta-batch for 90 %."""
    networks = " and ".join(map(str, NETWORKS))
    titles = [f"workers | all-reduce, ms, on {networks} Gbit/s", *(f"meta-batch {size}" for size in META_BATCHES)]
    lines = [[*titles, f"meta-batch for {100 * ENOUGH:.0f} %"], ["---"] * 6]
    for n in WORKERS:
        sums = [f"{sum(all_reduce_ms(parts, n, gbit)):.3g}" for gbit in NETWORKS]
        # Only for 10 Gbit/s: the networks differ by less than the last digit of a percentage.
        by_size = [f"{100 * efficiency(parts, n, size, 10):.0f} %" if size >= n else "-" for size in META_BATCHES]
        lines.append([str(n), " and ".join(sums), *by_size, f"{meta_batch_for(parts, ENOUGH, n, 10):,}"])
    return [f"| {' | '.join(line)} |" for line in lines]


def draw(figure, rows: Sequence[dict], workload: str) -> None:
    """Draws the efficiency against the number of workers (left) and the parts of a step of one meta-batch (right)."""
    measured, of = parts(rows, workload), medians(rows, workload)
    left, right = figure.subplots(1, 2)
    for size, (colour, marker) in META_BATCHES.items():
        some = [n for n in WORKERS if n <= size]
        for gbit, line in NETWORKS.items():
            label = f"meta-batch {size}" if line == "-" else None
            values = [100 * efficiency(measured, n, size, gbit) for n in some]
            left.plot(some, values, color=colour, marker=marker, linestyle=line, label=label)
    for (what, n, cores, size), ms in of.items():
        if what == "step" and n > 1 and cores == n:
            found = 100 * of["step", 1, 1, size] / (n * ms)
            left.plot(n, found, "*", color=style.ORANGE, markersize=11, label=f"measured, meta-batch {size}")
    left.axhline(100 * ENOUGH, color="0.8", linewidth=0.8, zorder=0)
    left.set_ylim(0, 105)
    left.set_ylabel("efficiency in %")
    left.set_title("dashed 10, solid 100 Gbit/s, which is nearly the same", loc="left")
    left.legend(loc="lower left")
    looks = {"tasks": ("-", style.BLUE), "latency": ("-.", style.ORANGE), "bytes": ("--", "0.35"), "fixed": (":", "0")}
    names = {"tasks": "a worker's tasks", "latency": "latencies", "bytes": "bytes, 10 Gbit/s", "fixed": "fixed"}
    for name, (line, colour) in looks.items():
        values = [step_ms(measured, n, _SHOWN, 10)[name] for n in WORKERS]
        right.plot(WORKERS, values, color=colour, linestyle=line, label=names[name])
    right.set_yscale("log")
    right.set_ylabel("ms of a step")
    right.set_title(f"parts of a step, meta-batch {_SHOWN}", loc="left")
    right.legend(loc="center right", bbox_to_anchor=(1, 0.24))  # where no line is
    for panel in (left, right):
        panel.set_xscale("log", base=2)
        panel.set_xticks(WORKERS, map(str, WORKERS))
        panel.set_xlabel("workers, a core each")
    told = (
        "Calculated from parts measured on one machine. Not measured: several machines, real networks, GPUs with NCCL."
    )
    figure.suptitle(told, fontsize=9, x=0.01, ha="left")
