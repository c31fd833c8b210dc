"""Tests of how work runs over tasks: the choice, the graphs, and that every way gives the same numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import layers, losses, networks
from maml_tf import task_axis as axis
from maml_tf.maml import MAML

LOOPS = {"While", "StatelessWhile"}


def mlp():
    return networks.mlp((3,), 2, (8,), "batch_norm")


def large_mlp():
    return networks.mlp((28, 28, 1), 5, (256, 128, 64, 64), "batch_norm")


def conv4():
    return networks.conv4((16, 16, 1), 2, 3, max_pool=True)


def recurrent():
    inputs = keras.Input((4, 2))
    return keras.Model(inputs, keras.layers.LSTM(3)(inputs))


def random_tasks(model, num_tasks=3, examples=4):
    rng = np.random.default_rng(0)
    shapes = [model.input_shape[1:], model.output_shape[1:]] * 2
    return Tasks(*[rng.normal(size=(num_tasks, examples, *shape)).astype(model.input.dtype) for shape in shapes])


@pytest.mark.parametrize(
    ("build", "on_cpu", "on_gpu"),
    [
        (mlp, ("vectorize", True), ("vectorize", True)),
        (large_mlp, ("map", True), ("vectorize", True)),
        (conv4, ("map", False), ("vectorize", True)),
        (recurrent, ("map", False), ("map", False)),
    ],
)
def test_what_auto_chooses(build, on_cpu, on_gpu, monkeypatch):
    model = build()
    for devices, expected in (([], on_cpu), (["GPU:0"], on_gpu)):
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind, found=devices: found)
        assert axis.resolve("auto", "auto", model) == expected


@pytest.mark.parametrize("build", [mlp, large_mlp, conv4, recurrent])
def test_what_is_asked_for_is_done(build):
    model = build()
    for task_axis in (axis.MAP, axis.VECTORIZE):
        assert axis.resolve(task_axis, "auto", model) == (task_axis, task_axis == axis.VECTORIZE)
        for jit in (False, True):
            assert axis.resolve(task_axis, jit, model) == (task_axis, jit)
            assert axis.resolve("auto", jit, model)[1] == jit


def operations(function, *args):
    """Returns the types of all operations in a function's graph and in the functions it calls."""
    graph = tf.function(function).get_concrete_function(*args).graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    return {node.op for node in nodes}


def conv1():
    """Returns a block of the layers most likely to need a loop: a convolution with filters per task, and pooling."""
    inputs = keras.Input((4, 4, 1))
    x = layers.MaxPool2x2()(keras.layers.ReLU()(layers.BatchNorm()(layers.Conv2D(2)(inputs))))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("build", [*(pytest.param(b, marks=pytest.mark.slow) for b in (mlp, conv4)), conv1])
def test_a_vectorised_meta_step_holds_no_loop(build):
    model = build()
    tasks = Tasks(*map(tf.constant, random_tasks(model)))
    found = {}
    for task_axis in (axis.MAP, axis.VECTORIZE):
        maml = MAML(model, losses.mse, task_axis=task_axis, jit=False)
        found[task_axis] = operations(maml.train_step.graph, tasks)
    assert found["map"] & LOOPS
    assert not found["vectorize"] & LOOPS
    assert "ResourceApplyAdam" in found["vectorize"] or "AssignSubVariableOp" in found["vectorize"]


def shifted(element):
    """Returns two results of different shapes, by operations that need no loop."""
    x, offset = element
    return {"sum": tf.reduce_sum(x) + offset, "shifted": x + offset}


ELEMENTS = (tf.constant(np.arange(12.0).reshape(4, 3)), tf.constant([10.0, 20.0, 30.0, 40.0], tf.float64))
SIGNATURE = {"sum": tf.TensorSpec([], tf.float64), "shifted": tf.TensorSpec([3], tf.float64)}


@pytest.mark.parametrize("task_axis", [axis.MAP, axis.VECTORIZE])
@pytest.mark.parametrize("jit", [False, True])
def test_map_tasks_stacks_and_mean_over_tasks_averages(task_axis, jit):
    @tf.function(jit_compile=jit)
    def both(elements):
        return axis.map_tasks(shifted, elements, SIGNATURE, task_axis), axis.mean_over_tasks(
            shifted, elements, SIGNATURE, task_axis
        )

    stacked, mean = both(ELEMENTS)
    np.testing.assert_array_equal(stacked["sum"], [3 + 10, 12 + 20, 21 + 30, 30 + 40])
    np.testing.assert_array_equal(stacked["shifted"], ELEMENTS[0] + tf.constant([[10.0], [20], [30], [40]], tf.float64))
    np.testing.assert_allclose(mean["sum"], np.mean(stacked["sum"]), rtol=1e-15)
    np.testing.assert_allclose(mean["shifted"], np.mean(stacked["shifted"], axis=0), rtol=1e-15)


def test_as_many_tasks_run_side_by_side_as_there_are_threads(monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 7)
    monkeypatch.setattr(tf, "map_fn", lambda *_, parallel_iterations, **__: asked.append(parallel_iterations))
    axis.map_tasks(shifted, ELEMENTS, SIGNATURE, axis.MAP)
    assert asked == [7]


@pytest.mark.parametrize(
    "build",
    [
        lambda: networks.mlp((3,), 2, (8,), "batch_norm", dtype="float64"),
        pytest.param(lambda: networks.conv4((8, 8, 1), 2, 3, dtype="float64"), marks=pytest.mark.slow),
    ],
)
def test_every_way_gives_the_same_evaluation(build):
    model = build()
    tasks, curves = random_tasks(model), []
    for task_axis in (axis.MAP, axis.VECTORIZE):
        maml = MAML(model, losses.mse, step_size=0.1, accuracy=losses.accuracy, task_axis=task_axis, jit=False)
        curves.append(maml.evaluate(tasks, 1))
    assert curves[0]["losses"].shape == (3, 2)
    for name, values in curves[0].items():
        np.testing.assert_allclose(values, curves[1][name], rtol=1e-12)
    assert len(set(curves[0]["losses"][:, 1])) == 3


@pytest.mark.parametrize("jit", [False, True])
def test_mistakes_within_a_vectorised_task_are_one_sentence(jit):
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    x, y = np.zeros((2, 4, 2), "float32"), np.zeros((2, 4), "int32")
    learner = MAML(net, "categorical_crossentropy", task_axis="vectorize", jit=jit)
    with pytest.raises(UserError, match=r"^categorical_crossentropy cannot compare targets of the shape"):
        learner.train_step(Tasks(x, y, x, y))
    learner = MAML(net, lambda outputs, _: tf.reduce_mean(tf.math.betainc(outputs, 1.0, 0.5)), task_axis="vectorize")
    with pytest.raises(UserError, match=r"^TensorFlow cannot vectorise .* give task_axis='map'$"):
        learner.evaluate(Tasks(x, y, x, y), 0)


class Subclassed(keras.Model):
    """A model whose `call` has operations that neither vectorise over tasks nor compile."""

    def __init__(self):
        super().__init__()
        self.first, self.head = keras.layers.Dense(4), keras.layers.Dense(2)

    def call(self, x):
        x = self.first(x)
        steps = tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, tf.tanh(v)), (0, x), maximum_iterations=3)
        return self.head(steps[1])


def test_a_subclass_whose_call_may_do_anything_is_mapped():
    model = Subclassed()
    model(np.zeros((1, 2), "float32"))
    x, y = np.ones((2, 4, 2), "float32"), np.ones((2, 4, 2), "float32")
    learner = MAML(model, "mse")
    assert (learner.task_axis, learner.jit) == (axis.MAP, False)
    assert learner.train_step(Tasks(x, y, x, y))["post_loss"] < np.inf
    learner = MAML(model, "mse", task_axis="vectorize")
    with pytest.raises(UserError, match=r"^TensorFlow cannot vectorise .* give task_axis='map'$"):
        learner.train_step(Tasks(x, y, x, y))
