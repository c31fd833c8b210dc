"""Meta-trains a policy by MAML and TRPO, or trains a baseline; the default of every setting is the paper's value.

python -m scripts.train_rl --env=point_navigation
python -m scripts.train_rl --env=half_cheetah_direction --baseline=pretrained --seed=1

Writes into <logdir>/<env>/<run>/: checkpoints, so that the same command resumes; best/, the policy with the best return
after its inner updates; progress.csv and TensorBoard summaries with

  return_before, return_after  mean undiscounted return of the trajectories before and after the inner updates
  loss_before, loss            the meta-loss before and after the step; kl_before, kl: the mean KL divergence
  backtracks, rejected         how often the line search shortened the step, and whether it gave up
  policy_std                   mean standard deviation of the policy's actions before adaptation
  explained_variance_*         share of the variance of returns that the linear baseline explains
  env_steps, diverged_paths    steps taken, and trajectories that ended because their simulation diverged
  seconds_*                    time for sampling, for advantages and inner updates, for the step; seconds: all
"""

import contextlib
import dataclasses

from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl.experiment import RLExperiment


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.settings(RLExperiment)
    flags.string("logdir", None, "folder of the runs; the run goes into its subfolder <env>; default: logs")
    flags.boolean("resume", True, "resume from the latest checkpoint")
    flags.boolean("log", True, "write TensorBoard summaries")
    flags.integer("save_interval", 1, "iterations between checkpoints", least=1)
    flags.arithmetic()


def run(flags: Flags) -> int:
    """Trains; returns the exit code."""
    experiment = RLExperiment.of(**flags.given(RLExperiment))
    with quiet_import():
        from maml_tf.runs import loop, process, workers
        from maml_tf.runs.checkpoints import available
        from rl.build import run_folder, usual_threads
        from rl.training import PolicyTraining

    folder = run_folder(experiment, flags.logdir)
    settings = dataclasses.asdict(experiment) | {"folder": folder}
    print("Settings (where not given, the paper's):", *(f"  {n:17} {v}" for n, v in settings.items()), sep="\n")
    process.configure(usual_threads(experiment), tf32=flags.tf32, deterministic=flags.deterministic)
    with workers.joined() as together, workers.own_folder(together, folder) as own:
        workers.refuse_differences(together, flags)
        training = PolicyTraining(experiment, own, flags.save_interval, flags.log, workers=together)
        with contextlib.closing(training.envs):
            if not loop.run(training, training.store, resume=flags.resume, unit="iteration", workers=together):
                return 130
        best = f"{training.best.folder} holds no whole policy"
        if training.best.is_whole():
            best = f"best return {training.best_return.numpy():.1f}, its policy is in {training.best.folder}"
        print(f"Trained for {available(own)[-1]} iterations; {best}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)
