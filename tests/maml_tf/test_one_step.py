"""Tests of how a meta-step runs: which of our functions it passes through, and how several processes share it."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.distribution import ALONE, Alone
from maml_tf.maml import MAML

LIBRARY = Path(inspect.getfile(MAML)).parent
PATH = """
    maml train_step; maml _mean_over_tasks; task_axis part; task_axis mean_over_tasks; task_axis add_one; maml of_task;
    task_learner meta_objective; task_learner adapt; adaptation descend; adaptation update; task_learner support_loss;
    pure_model __call__
"""


@pytest.fixture
def tasks():
    rng = np.random.default_rng(0)
    return Tasks(*(rng.normal(size=(4, 5, n)) for n in (3, 2, 3, 2)))


def test_twelve_calls_in_five_files_lead_from_train_step_to_keras(tasks):
    seen = []

    class Watching(keras.layers.Layer):
        def call(self, x):
            frames = [(Path(f.filename), f.function) for f in inspect.stack(context=0)]
            ours = [f"{file.stem} {name}" for file, name in reversed(frames) if file.parent == LIBRARY]
            seen.append(ours[ours.index("maml train_step") :] if "maml train_step" in ours else [])
            return x

    model = keras.Sequential([keras.Input((3,)), Watching(), keras.layers.Dense(2)])
    maml = MAML(model, losses.mse, task_axis="map", jit=False)
    seen.clear()
    maml.train_step(tasks)
    first = next(path for path in seen if "maml of_task" in path)
    assert first == " ".join(PATH.split()).split("; ")
    assert len(first) == 12
    assert len({call.split()[0] for call in first}) == 5


def dropout():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, dtype="float64"), keras.layers.Dropout(0.4, dtype="float64")]
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *layers, keras.layers.Dense(2, dtype="float64")])
    return MAML(model, losses.mse, num_updates=2, step_size=0.1, task_axis="map", jit=False)


def test_shares_of_a_meta_batch_make_the_whole(tasks):
    """This includes random layers: `first`, the number of the share's first task, tells their seeds."""
    maml = dropout()
    whole = maml.meta_gradients(tasks)
    shares = [Tasks(*(array[first : first + size] for array in tasks)) for first, size in ((0, 1), (1, 3))]
    parts = [maml.meta_gradients(share, first=first) for share, first in zip(shares, (0, 1), strict=True)]
    for gradient, one, three in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(gradient, one / 4 + 3 * three / 4, rtol=1e-12)
    again = maml.meta_gradients(shares[1])  # uses the seeds of the first tasks
    assert max(np.abs(a - b).max() for a, b in zip(again, parts[1], strict=True)) > 1e-3


class Two(Alone):
    """Stands in for two processes; the other process computes only zeros."""

    count = 2

    def __init__(self):
        self.weights = []

    def mean(self, tensors, weight):
        self.weights.append(weight)
        return tf.nest.map_structure(lambda tensor: tensor / 2, tensors)


@pytest.mark.parametrize("settings", [{"task_axis": "map", "jit": False}, {"task_axis": "vectorize", "jit": True}])
def test_a_mean_over_processes_comes_before_the_meta_update(tasks, settings):
    """XLA compiles the part before the mean and the part after it."""
    changes, two = [], Two()
    for workers in (ALONE, two):
        keras.utils.set_random_seed(0)
        model, sgd = networks.mlp((3,), 2, (6,), dtype="float64"), keras.optimizers.SGD
        maml = MAML(model, losses.mse, workers=workers, optimizer=sgd(0.5), pretrain_optimizer=sgd(0.5), **settings)
        for step in (maml.train_step, maml.pretrain_step):
            before = [v.numpy() for v in maml.weights]
            loss = step(tasks)["pre_loss"]
            changes.append([loss, *(v.numpy() - old for v, old in zip(maml.weights, before, strict=True))])
            for variable, old in zip(maml.weights, before, strict=True):
                variable.assign(old)
    assert two.weights == [4, 4]
    for alone, halved in zip(changes[:2], changes[2:], strict=True):
        for change, half in zip(alone, halved, strict=True):
            np.testing.assert_allclose(half, change / 2, rtol=1e-9, atol=1e-16)
            assert np.abs(change).max() > 1e-3


def test_a_subclass_may_override_a_step_and_call_it():
    class Logged(MAML):
        calls = 0

        def train_step(self, tasks):
            self.calls += 1
            return super().train_step(tasks)

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    logged = Logged(model, "mse", jit=False)
    values = np.ones((2, 3, 1), np.float32)
    for _ in range(3):
        logged.train_step(Tasks(values, values, values, values))
    assert logged.calls == 3
    assert logged.optimizer.iterations.numpy() == 3


def test_alone():
    assert ALONE.count == 1
    assert ALONE.mean([1.0], 3) == [1.0]
