"""Times the iterations of a policy's training by their phases; with --sampling, the sampling of trajectories alone.

python -m scripts.benchmark_rl
python -m scripts.benchmark_rl --env=half_cheetah_velocity --threads=products --task_axis=vectorize
python -m scripts.benchmark_rl --sampling
python -m scripts.benchmark_rl --sampling --env=ant_velocity --workers=1

Writes no files. Run it on an otherwise idle machine. For TRPO it also prints the GFLOP/s of the step, beside those of
sgemm. It counts 6 FLOP per weight and sample for a value with its gradient, and 18 for an inner update, because the
gradient of the update is itself differentiated. With --adapt=head it prints no GFLOP/s, since inner updates then need
fewer FLOP.

--sampling measures environments and policies together. The policies are networks with random weights, computed by
NumPy. The columns:

  steps       environment steps of a meta-batch
  steps/s     environment steps per second: the median over --repeats meta-batches, after a warm-up meta-batch
  policy      share of the time that the policies take
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from data_generators.errors import UserError
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl import envs
from rl.experiment import RLExperiment
from rl.sampling import sample
from scripts import flops

PHASES = ("seconds_sampling", "seconds_estimating", "seconds_step", "seconds")


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.settings(RLExperiment)
    flags.boolean("sampling", False, "measure sampling alone, in --env or else in every environment")
    repeats = "iterations, or meta-batches, to take the median of; default: 5, of --sampling 3"
    flags.integer("repeats", None, repeats, least=1, most=10**6)
    threads = "threads of TensorFlow: one for each task, or all of them for each product"
    flags.choice("threads", "auto", ["auto", "tasks", "products"], threads)
    flags.choice("task_axis", "auto", ["auto", "map", "vectorize"], "how a step runs over its tasks")
    workers = "threads that simulate, with --sampling; default: all cores"
    flags.integer("workers", None, workers, least=1, most=1024)


def run(flags: Flags) -> None:
    """Prints the times."""
    given = flags.given(RLExperiment)
    if flags.workers and not flags.sampling:
        raise UserError("--workers goes with --sampling: --threads says how TensorFlow uses the cores")
    if flags.sampling:
        if (flags.threads, flags.task_axis) != ("auto", "auto"):
            raise UserError("--threads and --task_axis are of TensorFlow, which --sampling does without")
        names = [flags.env] if flags.env else envs.ENVIRONMENTS
        experiments = [RLExperiment.of(**given | {"env": name}) for name in names]
        return print_sampling(experiments, flags.repeats or 3, flags.workers)
    _print_phases(RLExperiment.of(**given), flags.repeats or 5, flags.threads, flags.task_axis)


def print_sampling(experiments: Sequence[RLExperiment], repeats: int, threads: int | None = None) -> None:
    """Prints how fast meta-batches of experiments are sampled.

    Args:
        experiments: experiments, one for each environment.
        repeats: number of meta-batches to take the median of.
        threads: number of threads that simulate; None means one per core.
    """
    print(f"{'environment':24}{'steps':>9}{'steps/s':>10}{'policy':>8}")
    for experiment in experiments:
        steps, rate, share = _sampling(experiment, repeats, threads)
        print(f"{experiment.env:24}{steps:>9,}{rate:>10,.0f}{share:>8.0%}", flush=True)


class RandomPolicies:
    """Policies with random weights, a multilayer perceptron (two hidden ReLU layers) per task; measures their time."""

    def __init__(self, tasks: int, obs_dim: int, act_dim: int, hidden_size: int):
        random = np.random.default_rng(0)
        sizes = [obs_dim, hidden_size, hidden_size, act_dim]
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


def _sampling(experiment, repeats, threads):
    """Measures sampling; returns the steps of a meta-batch, steps per second, and the policies' share of the time."""
    size = experiment.meta_batch_size, experiment.fast_batch_size, experiment.horizon
    tasks = envs.make_vector(experiment.env, *size, threads=threads)
    policies = RandomPolicies(size[0], tasks.obs_dim, tasks.act_dim, experiment.hidden_size)
    goals = envs.sample_goals(experiment.env, 0, 0, size[0])
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


def _print_phases(experiment, repeats, threads, task_axis):
    with quiet_import():
        from maml_tf.runs import process
        from rl.build import usual_task_axis, usual_threads
        from rl.training import PolicyTraining

    threads = usual_threads(experiment) if threads == "auto" else threads
    process.configure(threads)
    task_axis = usual_task_axis() if task_axis == "auto" else task_axis
    with tempfile.TemporaryDirectory() as folder:
        training = PolicyTraining(experiment, folder, log=False, task_axis=task_axis)
        first = training.iterate(0)
        rows = [training.iterate(1 + repeat) for repeat in range(repeats)]
    medians = {name: statistics.median(row[name] for row in rows) for name in PHASES}
    setup = f"threads {threads}, task axis {task_axis}, {process.available_cores()} cores"
    print(f"{experiment.env}, {experiment.baseline}: {setup}")
    print(f"first iteration, with compilation: {first['seconds']:.1f} s; median of {repeats} more:")
    print(*(f"  {name:19} {seconds:8.3f}" for name, seconds in medians.items()), sep="\n")
    steps = statistics.median(row["env_steps"] for row in rows)
    print(f"  environment steps per second of sampling: {steps / medians['seconds_sampling']:,.0f}")
    if experiment.optimizer == "trpo" and experiment.adapt == "all":
        rate = _step_gflop(training) / medians["seconds_step"]
        print(f"  the TRPO step: {rate:.1f} GFLOP/s; sgemm of this machine: {flops.sgemm():.1f} GFLOP/s")


def _step_gflop(training):
    """GFLOP of a step without backtracks: a gradient of the loss, and two of the KL in each of 11 Hessian products."""
    experiment = training.experiment
    weights = sum(
        size for size, shape in zip(training.policy.sizes, training.policy.shapes, strict=True) if len(shape) > 1
    )
    samples = experiment.meta_batch_size * experiment.fast_batch_size * experiment.horizon
    passes = 1 + 3 * experiment.num_grad_updates
    return 23 * 6 * weights * samples * passes / 1e9


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
