"""Draws how a step scales to 256 workers, calculated from what scripts.benchmark_workers has measured on one machine.

python -m scripts.plot_scaling --measured=docs/figures/scaling.csv

Writes scaling.png, and prints the measurements and a table of the curve. Everything beyond the measured number of
workers is calculated: no network between machines and no GPU was measured. The equations are in
scripts/figures/scaling.py.
"""

import functools
import sys
from pathlib import Path

from data_generators.errors import UserError
from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from scripts.benchmark import WORKLOADS
from scripts.figures import scaling


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.path("measured", "docs/figures/scaling.csv", "file that scripts.benchmark_workers has written with --csv")
    flags.choice("workload", "omniglot_5way_1shot", list(WORKLOADS), "whose step")
    style.define(flags, "logs")


def run(flags: Flags) -> None:
    """Draws the picture, and prints the measurements and the table."""
    (path,) = style.paths(flags, ["scaling"], "logs")
    rows = read(flags.measured)
    try:
        parts = scaling.parts(rows, flags.workload)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{flags.measured} has no whole measurement of {flags.workload}: write it by "
            "python -m scripts.benchmark_workers --csv=FILE"
        ) from error
    print("\n".join([*scaling.described(parts, rows), *scaling.table(parts)]))
    draw = functools.partial(scaling.draw, workload=flags.workload)
    print(style.save(style.make(draw, rows, *scaling.SIZE), path))


def read(path: str | Path) -> list[dict]:
    """Reads the rows of a csv that `scripts.benchmark_workers` has written.

    Raises:
        UserError: the file cannot be read, or is another csv.
    """
    numbers = {name: int for name in ("workers", "cores", "tasks", "bytes", "turn")} | {"ms": float, "load": float}
    return style.read_csv(path, numbers, "write it by python -m scripts.benchmark_workers --csv=FILE")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
