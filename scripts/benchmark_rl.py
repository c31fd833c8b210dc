"""Times the iterations of a policy's training by their phases, and gives the TRPO step's rate beside sgemm's.

python -m scripts.benchmark_rl
python -m scripts.benchmark_rl --env=half_cheetah_velocity --threads=products --task_axis=vectorize

Writes nothing. Needs an otherwise idle machine. The step's arithmetic is counted as 6 FLOP per weight and sample for a
value with its gradient, and 18 for an inner update, whose gradient is differentiated in turn.
"""

import statistics
import sys
import tempfile

from maml_tf.runs.process import quiet_import
from scripts import command
from scripts.rl import flags as rl_flags

PHASES = ("seconds_sampling", "seconds_estimating", "seconds_step", "seconds")


def main(arguments: list[str] | None = None) -> int:
    """Prints the times; returns the exit code, 2 for a mistake that the user can mend."""
    parser = rl_flags.parser("benchmark_rl", __doc__)
    parser.add_argument("--repeats", type=int, default=5, help="iterations to take the median of; default 5")
    parser.add_argument("--threads", choices=["auto", "tasks", "products"], default="auto")
    parser.add_argument("--task_axis", choices=["auto", "map", "vectorize"], default="auto")
    return command.guarded(lambda: _run(parser.parse_args(arguments)))


def _run(flags):
    experiment = rl_flags.experiment_of(flags)
    command.check_counts(flags, {"repeats": 10**6})
    with quiet_import():
        from maml_tf.runs import process
        from rl.build import usual_task_axis, usual_threads
        from rl.training import PolicyTraining
        from scripts.sgemm import gflops

    threads = usual_threads(experiment) if flags.threads == "auto" else flags.threads
    process.configure(threads)
    task_axis = usual_task_axis() if flags.task_axis == "auto" else flags.task_axis
    with tempfile.TemporaryDirectory() as folder:
        training = PolicyTraining(experiment, folder, log=False, task_axis=task_axis)
        first = training.iterate(0)
        rows = [training.iterate(1 + repeat) for repeat in range(flags.repeats)]
    medians = {name: statistics.median(row[name] for row in rows) for name in PHASES}
    setup = f"threads {threads}, task axis {task_axis}, {process.available_cores()} cores"
    print(f"{experiment.env}, {experiment.baseline}: {setup}")
    print(f"first iteration, with compilation: {first['seconds']:.1f} s; median of {flags.repeats} more:")
    print(*(f"  {name:19} {seconds:8.3f}" for name, seconds in medians.items()), sep="\n")
    steps = statistics.median(row["env_steps"] for row in rows)
    print(f"  environment steps per second of sampling: {steps / medians['seconds_sampling']:,.0f}")
    if experiment.optimizer == "trpo":
        rate = _step_gflop(training) / medians["seconds_step"]
        print(f"  the TRPO step: {rate:.1f} GFLOP/s; sgemm of this machine: {gflops():.1f} GFLOP/s")


def _step_gflop(training):
    """GFLOP of a step without backtracks: a gradient of the loss, and two of the KL for each of 11 Hessian products."""
    experiment = training.experiment
    weights = sum(
        size for size, shape in zip(training.policy.sizes, training.policy.shapes, strict=True) if len(shape) > 1
    )
    samples = experiment.meta_batch_size * experiment.fast_batch_size * experiment.horizon
    passes = 1 + 3 * experiment.num_grad_updates
    return 23 * 6 * weights * samples * passes / 1e9


if __name__ == "__main__":
    sys.exit(main())
