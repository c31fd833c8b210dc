"""Fixtures: a classifier that is compiled once, and one that has been trained."""

import pytest

from maml_tf.baselines import training
from maml_tf.baselines.experiment import ClassifierSettings
from maml_tf.baselines.training import ClassifierTraining, build
from maml_tf.supervised.task_data import describe
from tests.data_generators.synthetic_classes import splits

TRAIN = splits()["train"]


class Trainings:
    """Makes trainings with the same settings. Each starts as in a new process, but they share one compiled model."""

    def __init__(self):
        self.settings = ClassifierSettings.of(
            datasource="synthetic", classes=describe(TRAIN), num_filters=8, batch_size=24, learning_rate=0.003
        )
        self._maml = build(self.settings, TRAIN.images.shape[1:], TRAIN.num_classes)
        maml = self._maml
        self._variables = maml.model.variables + maml.pretrain_optimizer.variables
        self._initial = [variable.numpy() for variable in self._variables]

    def training(self, folder, iterations, settings=None, data=TRAIN, save_every=100, evaluate_every=4):
        """Returns a ClassifierTraining with the initial weights, as a new process would start it."""
        for variable, value in zip(self._variables, self._initial, strict=True):
            variable.assign(value)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "build", lambda *arguments: self._maml)
            return ClassifierTraining(settings or self.settings, data, folder, iterations, save_every, evaluate_every)


@pytest.fixture(scope="session")
def trainings():
    return Trainings()


@pytest.fixture(scope="session")
def trained(trainings, tmp_path_factory):
    """A finished ClassifierTraining. Its model has the best weights, and no other test trains it."""
    run = trainings.training(tmp_path_factory.mktemp("classifier"), 150, evaluate_every=50)
    assert run.run()
    run.maml = build(trainings.settings, TRAIN.images.shape[1:], TRAIN.num_classes)
    run.use_best_weights()
    return run
