"""Draws the time of a step by PyTorch and JAX beside ours, from what `scripts.benchmark --peers` has measured.

python -m scripts.plot_benchmark --measured=docs/benchmark_peers.csv

Writes benchmark_peers.png, with a csv of the numbers that it shows.
"""

import sys

from data_generators.errors import UserError
from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from scripts import benchmark_record as record
from scripts.figures import benchmark


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.path("measured", "docs/benchmark_peers.csv", "file that scripts.benchmark --peers has written with --csv")
    style.define(flags, "logs")


def run(flags: Flags) -> None:
    """Draws the picture."""
    (path,) = style.paths(flags, ["benchmark_peers"], "logs", reads=[flags.measured])
    rows = benchmark.numbers(record.read(flags.measured))
    if not rows:
        raise UserError(f"{flags.measured} has no peers: write it by python -m scripts.benchmark --peers --csv=FILE")
    style.write(path, rows, benchmark.draw, benchmark.SIZE)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
