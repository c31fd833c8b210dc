"""The former name of scripts.benchmark_rl --sampling, which still works in this release."""

import sys

from maml_tf.runs.flags import Flags, command
from rl import envs
from rl.experiment import RLExperiment
from scripts import benchmark_rl


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.several("env", envs.ENVIRONMENTS, "default: all")
    flags.integer("workers", None, "threads that simulate; default: all cores", least=1, most=1024)
    flags.integer("repeats", 3, "meta-batches to take the median of", least=1, most=10**6)
    flags.integer("tasks", None, "tasks in a meta-batch; default: the paper's", least=1, most=10**6)


def run(flags: Flags) -> None:
    """Prints the table."""
    print("scripts.benchmark_rl_sampling is now called scripts.benchmark_rl --sampling: use that name", file=sys.stderr)
    names = flags.env or envs.ENVIRONMENTS
    experiments = [RLExperiment.of(env=name, meta_batch_size=flags.tasks) for name in names]
    benchmark_rl.print_sampling(experiments, flags.repeats, flags.workers)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
