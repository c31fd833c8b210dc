"""Helpers for trainings that are interrupted, resumed and compared."""

import os
import signal

import pytest

from maml_tf.supervised import build, training
from maml_tf.supervised.steps import steps_for
from maml_tf.supervised.training import Schedule
from tests.maml_tf.small_models import trained_variables
from tests.maml_tf.small_runs import NEVER, Run, small

PRETRAIN, METATRAIN = 3, 5
END = PRETRAIN + METATRAIN
EVERY = Schedule(summary=0, save=1, validate=0)


class Killed(BaseException):
    """Stands in for a kill: nothing in the code may catch it."""


class Runs:
    """Makes trainings with the same settings. Each starts as in a new process, but they compile only once.

    They do PRETRAIN iterations of pretraining, then METATRAIN of meta-training, without XLA.

    Args:
        settings: dict of settings of the Experiment.
    """

    def __init__(self, settings):
        self.settings = settings
        self._compiled = {}
        self.data = build.load(self.experiment())
        self.maml = build.build(self.experiment(), self.data.source, jit=False)
        self.variables = trained_variables(self.maml)
        self.initial = [variable.numpy() for variable in self.variables]

    def experiment(self, metatrain=METATRAIN, **others):
        """Returns the Experiment with these settings and `others`."""
        return small(self.settings, metatrain, **({"pretrain_iterations": PRETRAIN} | others))

    def training(self, folder, schedule=NEVER, log=False, source=None, cosine=False, **settings):
        """Returns a Run with the initial weights, as a new process would start it."""
        for variable, value in zip(self.variables, self.initial, strict=True):
            variable.assign(value)
        data = self.data._replace(source=source or self.data.source)
        return _Compiled(self, self.experiment(**settings), self.maml, data, folder, schedule, log, cosine)

    def steps_for(self, maml, experiment, source):
        """As `steps.steps_for`, but compiles only once."""
        if not source.in_graph:
            return steps_for(maml, experiment, source)
        key = experiment.seed, source  # all else that the compiled loop depends on is the same in all trainings
        if key not in self._compiled:
            self._compiled[key] = steps_for(maml, experiment, source)
        return self._compiled[key]


class _Compiled(Run):
    """A Run that uses the steps that `runs` has compiled."""

    def __init__(self, runs, *arguments):
        super().__init__(*arguments)
        self._runs = runs

    def run(self, resume=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "steps_for", self._runs.steps_for)
            return super().run(resume)


def at_save(run, iteration, act):
    """Makes the run call `act` just before it writes the checkpoint of an iteration; returns the run."""
    save = run.store.save

    def acting(now):
        if now == iteration:
            act()
        return save(now)

    run.store.save = acting
    return run


def ctrl_c():
    """Sends this process the signal that Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)


def kill():
    """Ends the training at once, as a kill would."""
    raise Killed
