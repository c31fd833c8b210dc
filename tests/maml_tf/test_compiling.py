"""Tests of compiled methods: when they are traced, and that their graphs are freed together with their MAML."""

import gc
import inspect
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML
from maml_tf.task_axis import MAP, Compiler, compiled


class Counted:
    """Counts how often its method is traced."""

    def __init__(self):
        self.compiler, self.traces = Compiler(MAP, jit=False), 0

    @compiled
    def power(self, x, *, exponent=2):
        """x to the power of exponent."""
        self.traces += 1
        return x**exponent


def test_a_compiled_method_is_traced_once_for_each_object_and_keyword():
    first, second = Counted(), Counted()
    for _ in range(2):
        assert [float(one.power(3.0)) for one in (first, second)] == [9, 9]
        assert float(first.power(tf.constant(2.0), exponent=3)) == 8
    assert (first.traces, second.traces) == (2, 1)
    assert float(first.power(x=3.0)) == 9
    assert first.power is first.power
    assert first.power.graph(2) == 4
    assert first.power.__doc__ == Counted.power.__doc__ == "x to the power of exponent."
    assert str(inspect.signature(first.power)) == "(x, *, exponent=2)"


def graphs():
    gc.collect()
    return weakref.WeakSet(thing for thing in gc.get_objects() if isinstance(thing, FuncGraph))


def use(loss=losses.mse, **settings):
    tasks = Tasks(*(np.ones((2, 3, n)) for n in (2, 1, 2, 1)))
    maml = MAML(networks.mlp((2,), 1, (3,), "layer_norm"), loss, **settings)
    maml.train_step(tasks)
    maml.evaluate(tasks, 1)
    maml.predict(tasks.query_x[0], maml.adapt(tasks.support_x[0], tasks.support_y[0]))


@pytest.mark.parametrize("task_axis", ["map", pytest.param("vectorize", marks=pytest.mark.slow)])
def test_graphs_of_a_maml_that_is_dropped_are_gone_when_the_next_has_come(task_axis):
    gc.collect()
    gc.freeze()  # leaves the objects of other tests out of the searches
    use(task_axis=task_axis, jit=False)
    of_first = graphs()
    assert of_first
    use(task_axis=task_axis, jit=False)
    gc.collect()
    assert [graph.name for graph in of_first] == []


@pytest.mark.slow
def test_derivatives_of_a_function_that_outlives_the_maml_stay():
    @tf.function
    def loss(outputs, targets):
        return tf.reduce_mean(keras.activations.silu(outputs - targets))  # silu has a custom gradient

    for _ in range(3):
        use(loss, task_axis="map", jit=False)
        gc.collect()
