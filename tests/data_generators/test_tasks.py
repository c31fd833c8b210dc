"""Tasks of different sizes: they are batched by size, and refused where all must have one size."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks, by_size
from maml_tf import networks
from maml_tf.maml import MAML
from maml_tf.supervised.evaluation import evaluate


def task(shots, number, queries=4):
    """One task whose inputs all equal `number`."""
    support, query = np.full((shots, 2), number), np.full((queries, 2), number)
    return Tasks(support, support[:, :1], query, query[:, :1])


def test_tasks_are_batched_by_all_of_their_sizes_in_their_order():
    batches = by_size([task(5, 0), task(10, 1), task(5, 2), task(5, 3, queries=1)])
    assert [batch.support_x.shape for batch in batches] == [(2, 5, 2), (1, 10, 2), (1, 5, 2)]
    assert [batch.query_y.shape for batch in batches] == [(2, 4, 1), (1, 4, 1), (1, 1, 1)]
    assert [batch.query_x[:, 0, 0].tolist() for batch in batches] == [[0, 2], [1], [3]]
    assert all(isinstance(batch, Tasks) for batch in batches)
    (batch,) = by_size([tuple(task(5, 0)), tuple(task(5, 2))])
    assert isinstance(batch, Tasks)
    assert batch.support_x[:, 0, 0].tolist() == [0, 2]
    assert by_size(iter([])) == []


def test_structures_lists_and_tensors_are_batched_too():
    x, y = {"a": np.ones((3, 2)), "b": (np.ones(3), [[1.0], [2.0], [3.0]])}, tf.zeros([3, 1])
    (batch,) = by_size([Tasks(x, y, x, y)] * 2)
    assert batch.support_x["a"].shape == (2, 3, 2)
    assert [value.shape for value in batch.support_x["b"]] == [(2, 3), (2, 3, 1)]
    assert batch.query_y.shape == (2, 3, 1)


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_inputs_of_a_task_are_listed(kind):
    x = kind([np.ones((5, 2)), np.ones((5, 3))])
    (batch,) = by_size([Tasks(x, np.ones((5, 1)), x, np.ones((5, 1)))] * 2)
    assert [value.shape for value in batch.support_x] == [(2, 5, 2), (2, 5, 3)]
    rows = [np.ones(2)] * 5  # these rows are one input
    (batch,) = by_size([Tasks(rows, rows, rows, rows)] * 2)
    assert batch.support_x.shape == (2, 5, 2)


def test_batches_of_each_size_are_trained_on():
    keras.utils.set_random_seed(0)
    maml = MAML(networks.mlp((2,), 1, (3,)), "mse", jit=False)
    for batch in by_size([task(5, 0.0), task(1, 1.0)]):
        assert np.isfinite(maml.train_step(batch)["post_loss"])


def _as_object(arrays):
    objects = np.empty(len(arrays), object)
    objects[:] = arrays
    return objects


RAGGED = {
    "arrays": list,
    "tuple": tuple,
    "nested lists": lambda arrays: [array.tolist() for array in arrays],
    "tensors": lambda arrays: [tf.constant(array) for array in arrays],
    "RaggedTensor": tf.ragged.stack,
    "objects": _as_object,
}


@pytest.mark.parametrize("part", ["support", "query"])
@pytest.mark.parametrize("kind", RAGGED)
def test_tasks_of_different_sizes_in_one_batch_are_refused(kind, part):
    maml = MAML(networks.mlp((2,), 1, (3,)), "mse", jit=False)
    usual = np.ones((2, 4, 2), np.float32)
    ragged = RAGGED[kind]([np.ones((5, 2), np.float32), np.ones((10, 2), np.float32)])
    names = f"{part}_x", f"{part}_y"
    tasks = Tasks(usual, usual, usual, usual)._replace(**dict.fromkeys(names, ragged))
    calls = [maml.train_step, maml.pretrain_step, maml.meta_gradients, lambda tasks: maml.evaluate(tasks, 1)]
    calls.append(lambda tasks: evaluate(maml, lambda first, count: tasks, num_tasks=2, num_updates=1))
    for call in calls:
        with pytest.raises(UserError, match=rf"{part}_x has tasks with different num.* by maml_tf\.by_size\(tasks\)"):
            call(tasks)
