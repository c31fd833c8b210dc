"""Measures how fast trajectories are sampled on this machine, environments and policies together.

python -m scripts.benchmark_rl_sampling
python -m scripts.benchmark_rl_sampling --env=ant_velocity --workers=1

Meta-batches are as large as the paper's; the policies are its networks with random weights, computed by NumPy. The
columns:

  steps       environment steps of a meta-batch
  steps/s     median over --repeats, after one meta-batch that warms up
  policy      share of the time that the policies take
"""

import itertools
import sys
import time

import numpy as np

from rl import envs
from rl.experiment import DEFAULT_ENV, RLExperiment
from rl.sampling import sample
from scripts import command


class RandomPolicies:
    """The means of one multilayer perceptron (two hidden layers of 100 ReLU) per task, and the time they took."""

    def __init__(self, tasks: int, obs_dim: int, act_dim: int):
        random = np.random.default_rng(0)
        sizes = [obs_dim, 100, 100, act_dim]
        self._layers = [
            random.normal(scale=np.sqrt(2 / (inputs + outputs)), size=(tasks, inputs, outputs)).astype(np.float32)
            for inputs, outputs in itertools.pairwise(sizes)
        ]
        self.seconds = 0.0

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        begin = time.perf_counter()
        values = observations
        for layer in self._layers[:-1]:
            values = np.maximum(values @ layer, 0)
        values = values @ self._layers[-1]
        self.seconds += time.perf_counter() - begin
        return values


def measure(name: str, threads: int | None, repeats: int, size: tuple[int, int, int]) -> tuple[int, float, float]:
    """Samples `repeats` meta-batches; returns steps of one, steps per second, and the policies' share of the time."""
    tasks = envs.make_vector(name, *size, threads=threads)
    policies = RandomPolicies(size[0], tasks.obs_dim, tasks.act_dim)
    goals = envs.sample_goals(name, 0, 0, size[0])
    log_std = np.zeros((size[0], tasks.act_dim))
    steps, rates, shares = 0, [], []
    for repeat in range(repeats + 1):
        policies.seconds = 0.0
        begin = time.perf_counter()
        trajectories = sample(tasks, policies, log_std, goals, (0, repeat))
        seconds = time.perf_counter() - begin
        steps = int(trajectories.mask.sum())
        rates.append(steps / seconds)
        shares.append(policies.seconds / seconds)
    tasks.close()
    return steps, float(np.median(rates[1:])), float(np.median(shares[1:]))


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = command.parser("benchmark_rl_sampling", __doc__)
    parser.add_argument("--env", action="append", choices=sorted(envs.ENVIRONMENTS), help="may be given more than once")
    parser.add_argument("--workers", type=int, help="threads that simulate (default: all cores)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tasks", type=int, help="tasks in a meta-batch (default: the paper's)")
    return command.guarded(lambda: _run(parser.parse_args(arguments)))


def _run(flags):
    command.check_counts(flags, {"repeats": 10**6, "tasks": 10**6})
    envs.make_vector(DEFAULT_ENV, 1, 1, 1, threads=flags.workers)  # finds out whether they are too many
    print(f"{'environment':24}{'steps':>9}{'steps/s':>10}{'policy':>8}")
    for name in flags.env or envs.ENVIRONMENTS:
        experiment = RLExperiment.of(env=name)
        size = flags.tasks or experiment.meta_batch_size, experiment.fast_batch_size, experiment.horizon
        steps, rate, share = measure(name, flags.workers, flags.repeats, size)
        print(f"{name:24}{steps:>9,}{rate:>10,.0f}{share:>8.0%}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
