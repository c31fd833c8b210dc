"""The training of a policy, for `runs.loop.run`: its iterations, `progress.csv`, summaries and the best policy."""

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data_generators.errors import UserError
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs.checkpoints import Checkpoints
from maml_tf.runs.log import Table, summaries
from rl import envs
from rl.advantages import estimate
from rl.build import build_learner, build_policy, checkpoint_objects
from rl.experiment import RLExperiment
from rl.sampling import sample_tasks

PROGRESS = "progress.csv"
# "before" and "after" refer to the inner update. A baseline has no inner update, so its two returns are equal.
COLUMNS = (
    "return_before",
    "return_after",
    "loss_before",
    "loss",
    "kl_before",
    "kl",
    "backtracks",
    "rejected",
    "policy_std",
    "explained_variance_before",
    "explained_variance_after",
    "env_steps",
    "diverged_paths",
    "seconds_sampling",
    "seconds_estimating",
    "seconds_step",
    "seconds",
)


class PolicyTraining:
    """One run of an experiment, which `runs.loop.run` trains with `store`.

    Args:
        experiment: RLExperiment.
        folder: folder of the run, for checkpoints and the log.
        save_every: iterations between checkpoints.
        log: whether to write TensorBoard summaries.
        task_axis: see `build.build_learner`.
        workers: the processes that share the tasks of each meta-batch.

    Attributes:
        store: the run's Checkpoints.
        best: Checkpoints of best/: the policy with the best return after its inner updates.
        best_return: variable that holds that return.

    Raises:
        UserError: as for `rl.envs.make_vector`.
    """

    events = ()

    def __init__(
        self,
        experiment: RLExperiment,
        folder: str | Path,
        save_every: int = 1,
        log: bool = True,
        task_axis: str | None = None,
        workers: Alone = ALONE,
    ):
        self.experiment = experiment
        self.end, self.save_every, self.log = experiment.iterations, save_every, log
        self.remedy = "a smaller --meta_step_size" + (" or --fast_lr" if experiment.is_maml else "") + " may help"
        if experiment.optimizer == "adam":
            self.remedy = "--optimizer=trpo bounds each step"
        self._first_task, self._num_tasks = workers.share(experiment.meta_batch_size)
        self._gathered = functools.partial(workers.gathered, number=experiment.meta_batch_size)
        self.envs = envs.make_vector(
            experiment.env,
            self._num_tasks,
            experiment.fast_batch_size,
            experiment.horizon,
            oracle=experiment.baseline == "oracle",
        )
        self.envs.first_task = self._first_task
        self.policy = build_policy(experiment, self.envs.obs_dim, self.envs.act_dim)
        self.learner = build_learner(experiment, self.policy, task_axis, workers)
        objects = checkpoint_objects(self.policy, self.learner)
        self.best_return = objects["best_return"]
        # Every 25th checkpoint is kept, as in the original; its published policies come from such checkpoints.
        self.store = Checkpoints(folder, experiment, objects, keep=5, keep_every=25)
        self.best = Checkpoints(self.store.folder / "best", experiment, objects, keep=1)
        self.table = Table(self.store.folder / PROGRESS, COLUMNS, digits=7)
        self._write_summaries: Callable[..., None] | None = None
        self._told_of_best = False

    @contextlib.contextmanager
    def opened(self, iteration: int) -> Iterator[None]:
        """Opens the log while entered, and drops its rows from this iteration on: they will be computed again."""
        self._check_best(iteration)
        rows = len(self.table.begin(iteration))
        if rows < iteration:
            print(f"{self.table.path} holds {rows} of the {iteration} iterations so far; the others are lost")
        with summaries(self.store.folder, self.log) as self._write_summaries:
            yield

    def advance(self, start: int, stop: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Runs iterations start ... stop - 1; after each, yields (number of iterations done, its metrics)."""
        for iteration in range(start, stop):
            metrics = self.iterate(iteration)
            self.table.add(iteration, metrics)
            self._write_summaries(metrics, iteration, flush=True)
            yield iteration + 1, metrics

    def variables(self) -> list:
        """The variables of the policy."""
        return self.policy.variables

    def status(self, metrics: dict[str, float]) -> str:
        """Describes the mean returns before and after the inner update, and the KL divergence of a TRPO step."""
        text = f"return {metrics['return_before']:.1f} -> {metrics['return_after']:.1f}"
        return text + (f", KL {metrics['kl']:.4f}" if "kl" in metrics else "")

    def iterate(self, iteration: int) -> dict[str, float]:
        """Makes one meta-update, algorithm 3 of the paper: samples, adapts, samples again, and makes the step.

        Returns:
            dict of floats by the names of COLUMNS, without those that the learner does not have.
        """
        clock, experiment, diverged = _Clock(), self.experiment, self.envs.diverged
        goals = self._goals(iteration)
        params = self.policy.stacked(self._num_tasks)
        batches, samples, explained = [], [], []
        for update in range(experiment.num_grad_updates + 1):
            if update:
                params = self.learner.adapt(params, samples[-1])
            clock.lap("seconds_estimating")
            seed = experiment.seed, iteration, update
            batches.append(sample_tasks(self.policy, params, self.envs, goals, seed))
            clock.lap("seconds_sampling")
            of_batch, variance = estimate(
                batches[-1], experiment.discount, experiment.gae_lambda, gathered=self._gathered
            )
            samples.append(of_batch)
            explained.append(variance)
        ended = np.zeros(self._num_tasks)
        ended[0] = self.envs.diverged - diverged
        of_tasks = {"before": batches[0].returns, "after": batches[-1].returns, "ended": ended}
        found = self._gathered(of_tasks | {"steps": sum(batch.mask.sum(axis=(1, 2)) for batch in batches)})
        metrics = {
            "return_before": float(found["before"].mean()),
            "return_after": float(found["after"].mean()),
            "policy_std": float(np.exp(self.policy.log_std(self.policy.params()).numpy()).mean()),
            "explained_variance_before": explained[0],
            "explained_variance_after": explained[-1],
            "env_steps": float(found["steps"].sum()),
            "diverged_paths": float(found["ended"].sum()),
        }
        self._keep_best(iteration, metrics["return_after"])
        clock.lap("seconds_estimating")
        metrics |= self.learner.step(tuple(samples[:-1]), samples[-1])
        clock.lap("seconds_step")
        return metrics | clock.seconds()

    def _goals(self, iteration):
        """The goals of this worker's tasks, [tasks, goal_dim]; for a baseline [tasks, trajectories, goal_dim].

        A baseline has one goal per trajectory. In the original, environments that are reset without a goal keep their
        first one, so that its pretraining over random goals sees few of them.
        """
        experiment = self.experiment
        tasks, trajectories = experiment.meta_batch_size, experiment.fast_batch_size
        own = slice(self._first_task, self._first_task + self._num_tasks)
        if experiment.is_maml:
            return envs.sample_goals(experiment.env, experiment.seed, iteration, tasks)[own]
        goals = envs.sample_goals(experiment.env, experiment.seed, iteration, tasks * trajectories)
        return goals.reshape(tasks, trajectories, goals.shape[-1])[own]

    def _keep_best(self, iteration, after):
        """Saves the policy in best/ if its return after the inner updates is higher than that of all earlier ones."""
        before = float(self.best_return.numpy())
        if not after > before:
            return
        self.best_return.assign(after)
        try:
            self.best.delete_from(iteration + 1)  # left by a process that was killed after its last checkpoint
            self.best.save(iteration)
        except UserError as error:  # such as a full disk; ending would also lose what was trained since the checkpoint
            self.best_return.assign(before)
            if not self._told_of_best:
                print(f"\nwarning: {error}: training continues, and best/ keeps the earlier policy", file=sys.stderr)
            self._told_of_best = True

    def _check_best(self, iteration):
        """Deletes the best policy of another run; if that of this run is lost, lets a new one be chosen."""
        if iteration == 0:
            self.best.delete_from(0)  # left by a process that was killed before its first checkpoint
        elif not self.best.is_whole() and np.isfinite(self.best_return.numpy()):
            print(f"{self.best.folder} holds no whole policy: a new best one is chosen from now on")
            self.best_return.assign(-np.inf)


class _Clock:
    """Adds up the seconds spent on each of several things."""

    def __init__(self):
        self._start = self._last = time.perf_counter()
        self._seconds = {}

    def lap(self, name):
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def seconds(self):
        return self._seconds | {"seconds": self._last - self._start}
