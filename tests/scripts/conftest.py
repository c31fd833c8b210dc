"""Fixtures: small trained runs of section 5.1, and the commands that read them, run in this process."""

import sys

import pytest

from maml_tf.runs import process
from maml_tf.supervised.experiment import Experiment
from scripts.figures.sinusoid_learners import error_rows as rows_of
from scripts.figures.sinusoid_learners import load_learners
from tests.command import Result
from tests.maml_tf import small_runs

ITERATIONS = 200
SEEDS = 0, 3
TASKS = 60  # of each test


@pytest.fixture(scope="session")
def logdir(tmp_path_factory):
    """The folder of MAML runs with two seeds, of the pretrained baseline and of the oracle."""
    folder = tmp_path_factory.mktemp("sinusoid")
    pretrained = {"pretrain_iterations": ITERATIONS, "metatrain_iterations": 0}
    settings = [{"metatrain_iterations": ITERATIONS, "seed": seed} for seed in SEEDS]
    for given in (*settings, pretrained, pretrained | {"baseline": "oracle"}):
        experiment = Experiment.of(**given)
        small_runs.training(experiment, folder / experiment.name, jit=False).run()
    return folder


@pytest.fixture(scope="session")
def learners(logdir):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.figures.sinusoid_learners.EVALUATION_TASKS", TASKS)
        yield load_learners(logdir, iterations=ITERATIONS)


@pytest.fixture(scope="session")
def error_rows(learners):
    return rows_of(learners)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """call(main, *arguments) does what the command of this `main` does, but in this process, to save time."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)

    def run(main, *arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def run(call, monkeypatch):
    """run(script, *arguments) is `call` of the script's main, but does not configure TensorFlow."""
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)  # can only be done once in a process
    monkeypatch.setattr(type(sys.stdout), "reconfigure", lambda *args, **kwargs: None, raising=False)
    return lambda script, *arguments: call(script.main, *arguments)
