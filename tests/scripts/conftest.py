"""Fixtures: small trained runs of section 5.1, and the commands that read them, run in this process."""

from typing import NamedTuple

import pytest

from maml_tf.experiment import Experiment
from scripts.sinusoid.runs import load_learners
from tests.maml_tf.runs import training

ITERATIONS = 200
SEEDS = 0, 3


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def logdir(tmp_path_factory):
    """The folder of MAML runs with two seeds, of the pretrained baseline and of the oracle."""
    folder = tmp_path_factory.mktemp("sinusoid")
    pretrained = {"pretrain_iterations": ITERATIONS, "metatrain_iterations": 0}
    settings = [{"metatrain_iterations": ITERATIONS, "seed": seed} for seed in SEEDS]
    for given in (*settings, pretrained, pretrained | {"baseline": "oracle"}):
        experiment = Experiment.of(**given)
        training(experiment, folder / experiment.name, jit=False).run()
    return folder


@pytest.fixture(scope="session")
def learners(logdir):
    return load_learners(logdir, iterations=ITERATIONS)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """call(main, *arguments) does what the command does, but in this process, to save time."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)

    def run(main, *arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # of argparse
            code = exit.code
        return Result(code, *capsys.readouterr())

    return run
