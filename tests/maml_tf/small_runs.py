"""Small runs for tests: their settings and data, and what their checkpoints hold."""

import numpy as np
import tensorflow as tf

from data_generators import omniglot
from maml_tf.runs import loop
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.training import Schedule, SupervisedTraining
from tests.data_generators import synthetic_omniglot as synthetic

# The meta-learner itself is tested elsewhere, so a few small tasks suffice.
SINUSOID = {"datasource": "sinusoid", "meta_batch_size": 2, "update_batch_size": 3}
IMAGES = {"datasource": "omniglot", "num_classes": 2, "meta_batch_size": 2, "num_filters": 3}
NEVER = Schedule(summary=0, save=0, validate=0)


def use_small_omniglot(monkeypatch, folder):
    """Makes the project load the small Omniglot, whatever data folder is given."""
    splits = synthetic.load(synthetic.write_zips(folder) or folder)
    monkeypatch.setattr(omniglot, "load_omniglot", lambda data_dir: splits)


def small(settings, metatrain_iterations, **others):
    """Returns the Experiment of a small run."""
    return Experiment.of(**settings, metatrain_iterations=metatrain_iterations, **others)


class Run:
    """A training and its checkpoints, as main.py runs them. Args as in `SupervisedTraining`."""

    def __init__(self, experiment, maml, data, folder, schedule=NEVER, log=False, cosine=False):
        self.maml, self.data = maml, data
        self.training = SupervisedTraining(experiment, maml, data, folder, schedule, log, cosine)
        self.store = build.store(folder, maml, experiment)

    def run(self, resume=True):
        """Runs the training; returns whether it reached its end, as `loop.run` does."""
        return loop.run(self.training, self.store, resume=resume)


def training(experiment, folder, schedule=NEVER, log=False, jit="auto"):
    """Builds a new Run of an experiment."""
    data = build.load(experiment)
    return Run(experiment, build.build(experiment, data.source, jit=jit), data, folder, schedule, log)


def contents(path):
    """Returns every array of a checkpoint by its name: weights, optimisers' state and number of iterations."""
    reader = tf.train.load_checkpoint(str(path))
    described = ("_CHECKPOINTABLE_OBJECT_GRAPH", "experiment/.ATTRIBUTES/VARIABLE_VALUE")
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name not in described}


def assert_same_numbers(path, expected):
    """Asserts that two checkpoints hold exactly the same numbers."""
    found, expected = contents(path), contents(expected)
    assert found.keys() == expected.keys()
    assert any("kernel" in name or "optimizer" in name for name in found)
    different = [name for name in found if not np.array_equal(found[name], expected[name])]
    assert different == []
