"""Trainings that are interrupted, resumed and compared."""

import functools
import os
import signal

import pytest

from maml_tf.supervised import build, training
from maml_tf.supervised.steps import steps_for
from maml_tf.supervised.training import Schedule, Training
from tests.maml_tf.small_runs import NEVER, small

PRETRAIN, METATRAIN = 3, 5
END = PRETRAIN + METATRAIN
EVERY = Schedule(summary=0, save=1, validate=0)


class Killed(BaseException):
    """Stands in for a kill: nothing in the code may catch it."""


class Runs:
    """Trainings of the same settings, each as if in a process of its own, except that they compile only once.

    First comes pretraining and then meta-training, PRETRAIN and METATRAIN iterations. It is not compiled by XLA.

    Args:
        settings: of the Experiment, as a dict.
    """

    def __init__(self, settings):
        self.settings = settings
        self._compiled = {}
        self.data = build.load(self.experiment(), None)
        self.maml = build.build(self.experiment(), self.data.source, jit=False)
        self.initial = [variable.numpy() for variable in self.variables]

    @property
    def variables(self):
        """All that a checkpoint has to bring back."""
        maml = self.maml
        optimizers = maml.optimizer.variables + maml.pretrain_optimizer.variables
        return [*maml.model.variables, *maml.step_sizes, *optimizers]

    def experiment(self, metatrain=METATRAIN, **others):
        """The Experiment of these settings and others."""
        return small(self.settings, metatrain, **({"pretrain_iterations": PRETRAIN} | others))

    def training(self, folder, schedule=NEVER, log=False, source=None, **settings):
        """A Training that starts as a new process does, with the initial weights."""
        for variable, value in zip(self.variables, self.initial, strict=True):
            variable.assign(value)
        validation = functools.partial(self.data.evaluation_tasks, "val")
        source = source or self.data.source
        run = Training(self.experiment(**settings), self.maml, source, validation, folder, schedule, log)
        run.run = functools.partial(self._run, run.run)
        return run

    def _run(self, run, *args, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "steps_for", self._steps_for)
            return run(*args, **kwargs)

    def _steps_for(self, maml, experiment, source):
        if not source.in_graph:
            return steps_for(maml, experiment, source)
        key = experiment.seed, source  # what else the compiled loop depends on is the same in all of them
        if key not in self._compiled:
            self._compiled[key] = steps_for(maml, experiment, source)
        return self._compiled[key]


def at_save(run, iteration, act):
    """Acts just before the checkpoint of an iteration is written."""
    save = run.checkpoints.save

    def acting(now):
        if now == iteration:
            act()
        return save(now)

    run.checkpoints.save = acting
    return run


def ctrl_c():
    """Does what Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def kill():
    """Ends the training on the spot."""
    raise Killed
