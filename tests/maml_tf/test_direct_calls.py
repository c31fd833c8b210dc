"""Tests of calls that skip TensorFlow's search for a graph: which calls do, and that the results are the same."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.direct_calls import Direct
from maml_tf.maml import MAML


class Counted:
    """A function of tensors that counts its traces and its calls through TensorFlow's search."""

    def __init__(self, function=lambda *args: sum(tf.nest.flatten(args))):
        self.function, self.traces, self.searches = function, 0, 0
        self.direct = Direct(self.compile)

    def compile(self):
        def traced(*args):
            self.traces += 1
            return self.function(*args)

        compiled = tf.function(traced, autograph=False)

        class Searching:
            _list_all_concrete_functions = compiled._list_all_concrete_functions

            get_concrete_function = compiled.get_concrete_function

            def __call__(_, *args):
                self.searches += 1
                return compiled(*args)

        return Searching()

    def __call__(self, *args):
        return self.direct(*args)


def test_each_kind_of_tensors_is_searched_for_once():
    add = Counted()
    a, b = np.float32([1, 2]), tf.constant([3.0, 4.0])
    for _ in range(2):
        np.testing.assert_array_equal(add(a, b), [4, 6])
        np.testing.assert_array_equal(add((b, a)), [4, 6])  # another structure of the same tensors
        np.testing.assert_array_equal(add(a[:1], b[:1]), [4])  # another shape
        np.testing.assert_array_equal(add(np.float64([1]), np.float64([2])), [3])  # another dtype
    assert (add.traces, add.searches) == (4, 4)


def test_what_is_traced_before_is_not_traced_again():
    called = Counted()
    a, b = np.float32([1, 2]), tf.constant([3.0, 4.0])
    called.direct.trace(a, b)
    assert called.traces == 1
    for _ in range(2):
        np.testing.assert_array_equal(called(a, b), [4, 6])
    assert (called.traces, called.searches) == (1, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        (3.0, tf.constant(1.0)),
        ({"x": tf.constant(3.0)}, tf.constant(1.0)),
        ((tf.constant(1.0), (tf.constant(2.0),)), tf.constant(1.0)),
        (tf.Variable(3.0), tf.constant(1.0)),
    ],
)
def test_what_is_no_tensor_is_left_to_tensorflow(arguments):
    add = Counted()
    assert [float(add(*arguments)) for _ in range(2)] == [4, 4]
    assert (add.traces, add.searches) == (1, 2)


def test_within_a_graph_or_eagerly_it_is_the_function():
    add = Counted()
    add(tf.constant(1.0))
    assert float(tf.function(lambda x: add(x + 1))(tf.constant(1.0))) == 2
    tf.config.run_functions_eagerly(True)
    try:
        assert float(add(tf.constant(1.0))) == 1
    finally:
        tf.config.run_functions_eagerly(False)
    assert add.searches == 3


def test_a_function_of_the_users_own_around_it_is_traced_without_a_warning():
    add = Direct(lambda: tf.function(lambda x: x + 1, autograph=False))
    heard, handler = [], logging.Handler()
    handler.emit = heard.append
    tf.get_logger().addHandler(handler)
    try:
        assert float(tf.function(lambda x: add(x))(tf.constant(1.0))) == 2
    finally:
        tf.get_logger().removeHandler(handler)
    assert heard == []


def test_none_is_part_of_the_kind_and_no_input():
    add = Counted(lambda pair, scale: pair[0] if scale is None else pair[0] * scale)
    pair = tf.constant(3.0), None
    for _ in range(2):
        assert [float(add(pair, None)), float(add(pair, np.float32(2)))] == [3, 6]
        assert float(add(pair, tf.constant(2.0))) == 6  # a tensor in place of an array
    assert (add.traces, add.searches) == (2, 2)


def test_many_kinds_are_warned_of_once(caplog):
    add = Counted()
    for size in range(1, 12):
        add(tf.ones([size]))
    (record,) = caplog.records
    assert record.message.startswith("a step or a prediction has been compiled for 10 different shapes of its tasks;")


def test_gradients_go_through_and_variables_are_as_they_are_now():
    variable = tf.Variable(2.0)
    times = Counted(lambda x: variable * x)
    x = tf.constant(3.0)
    for value in (2.0, 5.0):
        variable.assign(value)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = times(x)
        assert [float(y), *map(float, tape.gradient(y, [x, variable]))] == [3 * value, value, 3]
    assert times.searches == 1


def test_steps_are_those_of_one_call_after_the_other_and_errors_stay():
    rng = np.random.default_rng(0)
    tasks = Tasks(*(rng.normal(size=(2, 3, n)).astype("float32") for n in (2, 1, 2, 1)))
    initial = networks.mlp((2,), 1, (3,), "layer_norm").get_weights()
    found = []
    for compiled in (lambda maml: maml.train_step, lambda maml: tf.function(maml.train_step.graph, autograph=False)):
        maml = MAML(networks.mlp((2,), 1, (3,), "layer_norm"), losses.mse, task_axis="map", jit=False)
        maml.model.set_weights(initial)
        step = compiled(maml)
        for _ in range(3):
            step(tasks)
        found.append(maml.model.get_weights())
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match="differs"):
        maml.train_step(tasks._replace(query_x=tasks.query_x[:1]))
