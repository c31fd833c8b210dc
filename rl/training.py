"""The training run of a policy: iterations, progress bar, log, checkpoints and resuming."""

import sys
import time
from pathlib import Path

import numpy as np

from data_generators.errors import UserError
from data_generators.progress import progress
from maml_tf.runs.loop import Interrupted, StopRequest
from rl import envs
from rl.build import build_learner, build_policy
from rl.checkpoints import PolicyCheckpoints
from rl.log import ProgressLog
from rl.sampling import Rollouts, path_returns

# before and after: the inner update; a baseline, which has none, has the same return twice.
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


class Training:
    """One run of an experiment.

    Args:
        experiment: RLExperiment.
        folder: where checkpoints and the log go; made if need be.
        save_interval: iterations between checkpoints.
        tensorboard: whether to write summaries.
        how: over tasks, see `learners.build_learner`.

    Raises:
        UserError: there is no such environment, or a number does not suit it.
    """

    def __init__(self, experiment, folder, save_interval=1, tensorboard=True, how=None):
        self.experiment = experiment
        self.folder = Path(folder)
        self.save_interval = save_interval
        self.envs = envs.make_vector(
            experiment.env,
            experiment.meta_batch_size,
            experiment.fast_batch_size,
            experiment.horizon,
            oracle=experiment.baseline == "oracle",
        )
        self.policy = build_policy(experiment, self.envs.obs_dim, self.envs.act_dim)
        self.learner = build_learner(experiment, self.policy, how)
        self.rollouts = Rollouts(self.policy, self.envs, experiment.discount, experiment.gae_lambda)
        optimizer = getattr(self.learner, "optimizer", None)
        # Every 25th stays, as in the original, whose published policies are such ones.
        self.checkpoints = PolicyCheckpoints(self.folder, self.policy.model, experiment, optimizer, keep_every=25)
        self.best = PolicyCheckpoints(self.folder / "best", self.policy.model, experiment, optimizer, keep=1)
        self.log = ProgressLog(self.folder, COLUMNS, tensorboard)
        self.iteration = 0
        self._told_of_best = False

    def run(self, resume=True):
        """Trains to the end, or until asked to stop.

        Args:
            resume: continue from the latest checkpoint in the folder, if there is one; otherwise rename that of an
                earlier run.

        Raises:
            UserError: the folder cannot be written, its checkpoint is of other settings, or numbers are not finite.
            Interrupted: the process was asked to stop; a checkpoint of the last iteration is saved.
        """
        try:
            self._start(resume)
            self._train()
        finally:
            self.checkpoints.end()

    def _train(self):
        saved, end = self.iteration, self.experiment.iterations
        if self.iteration >= end:
            return
        self.log.begin(self.iteration)
        try:
            with StopRequest() as stop, progress(end, "Training", "iteration", self.iteration) as bar:
                while self.iteration < end and not stop.requested:
                    figures = self.iterate()
                    self.log.write(self.iteration - 1, figures)
                    bar.set_postfix_str(_show(figures), refresh=False)
                    bar.update()
                    if self.iteration % self.save_interval == 0:
                        saved = self._save()
                if self.iteration > saved:
                    self._save()
        finally:
            self.log.close()
        if stop.requested:
            raise Interrupted

    def iterate(self):
        """One meta-update: samples, adapts, samples again, and takes the step.

        Returns:
            dict of floats by the names of COLUMNS, but for those that the learner does not have.
        """
        clock = _Clock()
        diverged = self.envs.diverged
        goals = self._goals()
        params = self.policy.stacked(self.experiment.meta_batch_size)
        rollouts = []
        for update in range(self.experiment.num_grad_updates + 1):
            if update:
                params = self.learner.adapt(params, rollouts[-1].samples)
            clock.lap("seconds_estimating")
            paths = self.rollouts.paths(params, goals, (self.experiment.seed, self.iteration, update))
            clock.lap("seconds_sampling")
            rollouts.append(self.rollouts.of(paths))
        before, after = rollouts[0], rollouts[-1]
        figures = {
            "return_before": float(path_returns(before.paths).mean()),
            "return_after": float(path_returns(after.paths).mean()),
            "policy_std": float(np.exp(self.policy.log_std(self.policy.params()).numpy()).mean()),
            "explained_variance_before": before.explained_variance,
            "explained_variance_after": after.explained_variance,
            "env_steps": float(sum(rollout.paths.mask.sum() for rollout in rollouts)),
            "diverged_paths": float(self.envs.diverged - diverged),
        }
        self._keep_best(figures["return_after"])
        clock.lap("seconds_estimating")
        figures |= self.learner.step(tuple(rollout.samples for rollout in rollouts[:-1]), after.samples)
        clock.lap("seconds_step")
        self.iteration += 1
        return figures | clock.seconds()

    def _goals(self):
        """[tasks, goal_dim]; for a baseline [tasks, paths, goal_dim], a goal per path.

        The original's environments keep their first goal when they are reset without one, so that its pretraining over
        random goals sees few of them.
        """
        experiment = self.experiment
        tasks, paths = experiment.meta_batch_size, experiment.fast_batch_size
        if experiment.is_maml:
            return envs.sample_goals(experiment.env, experiment.seed, self.iteration, tasks)
        goals = envs.sample_goals(experiment.env, experiment.seed, self.iteration, tasks * paths)
        return goals.reshape(tasks, paths, goals.shape[-1])

    def _keep_best(self, after):
        """Saves the policy as it is, if no earlier one had a better return after its inner updates."""
        before = float(self.checkpoints.best_return.numpy())
        if not after > before:
            return
        self._assign_best_return(after)
        try:
            self.best.delete_from(self.iteration + 1)  # of a process that was killed after its last checkpoint
            self.best.save(self.iteration)
        except UserError as error:  # of a full disk, which would cost what was trained since the last checkpoint too
            self._assign_best_return(before)
            if not self._told_of_best:
                print(f"\nwarning: {error}: training continues, and best/ keeps the earlier policy", file=sys.stderr)
            self._told_of_best = True

    def _assign_best_return(self, value):
        for checkpoints in (self.checkpoints, self.best):
            checkpoints.best_return.assign(value)

    def _start(self, resume):
        self.iteration = self.checkpoints.start(resume)
        if self.iteration == 0:
            self.best.delete_from(0)  # what a process left that was killed before its first checkpoint
        elif not self.best.is_whole() and np.isfinite(self.checkpoints.best_return.numpy()):
            print(f"{self.best.folder} holds no whole policy: the best one is chosen anew from now on")
            self._assign_best_return(-np.inf)

    def _save(self):
        if not np.isfinite(self.policy.flat().numpy()).all():
            raise UserError(
                f"the policy's weights are no longer finite at iteration {self.iteration}: training stops and the "
                f"checkpoints in {self.folder} stay as they are"
            )
        self.checkpoints.save(self.iteration)
        return self.iteration


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


def _show(figures):
    text = f"return {figures['return_before']:.1f} -> {figures['return_after']:.1f}"
    return text + (f", KL {figures['kl']:.4f}" if "kl" in figures else "")
