"""Tests of the checks of MAML's arguments, and of the messages for arguments that do not fit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks, by_size
from maml_tf import checks
from maml_tf.losses import mse
from maml_tf.maml import MAML


def ones(*shape):
    return tf.ones(shape)


GOOD = Tasks(ones(4, 5, 2), ones(4, 5, 1), ones(4, 6, 2), ones(4, 6, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"query_x": ones(2, 6, 2), "query_y": ones(2, 6, 1)},
            "the number of tasks differs: support_x 4, .* query_x 2",
        ),
        ({"support_y": ones(4, 7, 1)}, "the number of examples in a task differs: support_x 5, support_y 7"),
        ({"query_y": ones(4, 5, 1)}, "the number of examples in a task differs: query_x 6, query_y 5"),
        ({"support_x": ones(4, 0, 2), "support_y": ones(4, 0, 1)}, "the support is empty"),
        ({"query_x": ones(4, 0, 2), "query_y": ones(4, 0, 1)}, "the query is empty"),
        ({"query_y": ones(4, 6, 3)}, "support and query differ in shape"),
        ({"query_x": ones(4, 6, 2, 1)}, "support and query differ in shape"),
        ({"support_y": ones(4)}, r"support_y must be \[tasks, examples, ...\], but its shape is \(4,\)"),
        ({"support_x": {"a": ones(4, 5, 2), "b": ones(3, 5, 2)}}, "the number of tasks differs: support_x 3 and 4"),
    ],
)
def test_tasks_that_do_not_fit(changes, message):
    with pytest.raises(UserError, match=message):
        checks.number_of(GOOD._replace(**changes))


def test_tasks_that_fit():
    assert checks.number_of(GOOD) == 4
    longer = GOOD._replace(query_x=ones(4, 6, 9), query_y=ones(4, 6, 9))  # longer sequences
    assert checks.number_of(longer._replace(support_y=ones(4, 5, 2))) == 4
    assert checks.number_of(GOOD._replace(query_x=ones(4, 0, 2), query_y=ones(4, 0, 1)), queries=False) == 4


@pytest.mark.parametrize("number", [3, np.int64(3), np.array(3), tf.constant(3), np.uint8(3)])
def test_integers_of_any_kind_count(number):
    assert (checks.count(number, "n", 1), type(checks.count(number, "n", 1))) == (3, int)


@pytest.mark.parametrize("number", [2.0, np.float32(2), "2", None, [2], -1, 0])
def test_other_counts_are_refused(number):
    with pytest.raises(UserError, match="n must be"):
        checks.count(number, "n", 1)


def small(loss=mse, **settings):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
    return MAML(model, loss, **({"step_size": 0.1, "task_axis": "map", "jit": False} | settings))


def test_numpys_integers_are_numbers_of_updates():
    maml = small(num_updates=np.int64(2))
    x, y = np.ones((5, 2)), np.ones((5, 1))
    expected = [p.numpy() for p in maml.adapt(x, y, 2).params]
    for updates in (None, np.int32(2), np.array(2)):
        for found, value in zip(maml.adapt(x, y, updates).params, expected, strict=True):
            np.testing.assert_array_equal(found, value)
    assert maml.evaluate(GOOD, np.int64(1))["losses"].shape == (4, 2)
    for updates in (2.0, -1):
        with pytest.raises(UserError, match="num_updates must be"):
            maml.adapt(x, y, updates)
        with pytest.raises(UserError, match="num_updates must be"):
            maml.evaluate(GOOD, updates)
    maml.adapt(x, y, 3)  # the errors had no effect


@pytest.mark.parametrize("task_axis", ["map", "vectorize"])
def test_steps_refuse_tasks_that_do_not_fit_in_one_sentence(task_axis):
    maml = small(task_axis=task_axis)
    for changes in ({"query_x": ones(4, 6, 3)}, {"query_y": ones(2, 6, 1)}, {"query_y": ones(4, 6)}):
        for step in (maml.train_step, maml.meta_gradients, lambda tasks: maml.evaluate(tasks, 1)):
            with pytest.raises(UserError) as raised:
                step(GOOD._replace(**changes))
            assert "\n" not in str(raised.value)


def test_adapt_and_predict_refuse_what_does_not_fit():
    maml = small()
    for x, y, message in (
        (np.ones((5, 2)), np.ones((4, 1)), "the number of examples differs: x 5, y 4"),
        (np.ones((0, 2)), np.ones((0, 1)), "the support is empty"),
        (np.ones((5, 3)), np.ones((5, 1)), r"an example of x has the shape \(3,\), but the model takes \(2,\)"),
        (np.ones((5, 2)), np.ones(5), "the targets of a task have the shape"),
        (1.0, 2.0, r"x must be \[examples, ...\], but its shape is \(\)"),
        (np.ones((5, 2)), 2.0, "y must be .* but is a single number"),
    ):
        with pytest.raises(UserError, match=message):
            maml.adapt(x, y)
    with pytest.raises(UserError, match="an example of x has the shape"):
        maml.predict(np.ones((5, 3)))


def test_nested_numbers_are_arrays():
    maml = small()
    x, y = [[1.0, 2.0], [0.5, 0.0]], [[1.0], [0.0]]
    found = maml.adapt(x, y).params
    for value, expected in zip(found, maml.adapt(np.array(x), np.array(y)).params, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert maml.predict(x).shape == (2, 1)
    tasks = Tasks([x], [y], [x], [y])
    np.testing.assert_array_equal(
        maml.evaluate(tasks, 1)["losses"], maml.evaluate(Tasks(*map(np.array, tasks)), 1)["losses"]
    )


@pytest.mark.parametrize("kind", [list, dict])
def test_models_with_several_inputs_and_outputs_adapt_and_predict(kind):
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    hidden = keras.layers.Concatenate()([a, b])
    outputs = [keras.layers.Dense(1)(hidden), keras.layers.Dense(2)(hidden)]

    def pack(first, second):
        return [first, second] if kind is list else {"a": first, "b": second}

    def loss(outputs, targets):
        return mse(outputs[0], targets[0]) + mse(outputs[1], targets[1])

    maml = MAML(keras.Model(pack(a, b), outputs), loss, step_size=0.1, task_axis="map", jit=False)
    rng = np.random.default_rng(0)
    x = pack(rng.normal(size=(3, 6, 2)), rng.normal(size=(3, 6, 2)))
    y = [rng.normal(size=(3, 6, 1)), rng.normal(size=(3, 6, 2))]
    curves = maml.evaluate(Tasks(x, y, x, y), 2)["losses"]
    of_first = [tf.nest.map_structure(lambda array: array[0], value) for value in (x, y)]
    for updates in (0, 2):
        found = maml.predict(of_first[0], maml.adapt(*of_first, num_updates=updates))
        np.testing.assert_allclose(loss(found, of_first[1]), curves[0, updates], rtol=1e-4)
    with pytest.raises(UserError, match="x holds 1 arrays, but the model has 2 inputs"):
        maml.predict(np.ones((6, 2)))


def test_one_trace_serves_any_number_of_examples_and_updates():
    traces = []

    def counted(outputs, targets):
        traces.append(1)
        return mse(outputs, targets)

    maml = small(counted)
    for examples, updates in ((3, 1), (4, 1), (7, 3), (1, 200), (11, 0)):
        maml.predict(np.ones((examples, 2)), maml.adapt(np.ones((examples, 2)), np.ones((examples, 1)), updates))
    assert len(traces) == 1
    maml.adapt(np.ones((3, 2)), np.ones((3, 1)), step_size=0.5)
    maml.adapt(np.ones((3, 2)), np.ones((3, 1)), step_size=0.25)
    assert len(traces) == 1


def test_sequences_of_any_length_are_one_trace():
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential([keras.Input((None, 2)), Counted(), keras.layers.SimpleRNN(3), keras.layers.Dense(1)])
    maml = MAML(model, mse, task_axis="map", jit=False)
    maml.predict(np.ones((5, 4, 2)))
    count = len(traces)
    assert maml.predict(np.ones((3, 9, 2))).shape == (3, 1)
    assert len(traces) == count


def test_optimizers_by_name():
    assert isinstance(small(optimizer="sgd").optimizer, keras.optimizers.SGD)
    assert small().optimizer.epsilon == 1e-8  # as in TensorFlow 1
    with pytest.raises(UserError, match="Keras has no optimizer 'foo'"):
        small(optimizer="foo")


@pytest.mark.parametrize("settings", [{}, {"task_axis": "map", "jit": False}, {"task_axis": "vectorize", "jit": False}])
def test_a_meta_batch_without_tasks_is_refused(settings):
    maml = MAML(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), "mse", **settings)
    before = [v.numpy() for v in maml.weights]
    for step in (maml.train_step, maml.pretrain_step, maml.meta_gradients):
        with pytest.raises(UserError, match="the meta-batch is empty: it needs at least one task"):
            step(Tasks(*(value[:0] for value in GOOD)))
    if settings.get("jit") is False:  # the number of tasks may be unknown, as in a tf.data.Dataset
        specs = [tf.TensorSpec([None, *np.shape(value)[1:]], tf.float32) for value in GOOD]
        step = tf.function(lambda *tasks: maml.train_step(Tasks(*tasks))).get_concrete_function(*specs)
        with pytest.raises(tf.errors.InvalidArgumentError, match="the meta-batch is empty"):
            step(*(tf.zeros([0, *spec.shape[1:]]) for spec in specs))
    for variable, value in zip(maml.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("step_size", [None, "0.1", float("nan"), np.float32(np.inf), True, [0.1, None]])
def test_what_is_no_step_size_is_refused(step_size):
    with pytest.raises(UserError, match="step_size must be a finite number, or a list with one for each variable, not"):
        small(step_size=step_size)


def test_a_step_size_of_numpy_is_a_number(tmp_path):
    maml = small(step_size=np.float32(0.5))
    assert (type(maml.step_size), maml.step_size) == (float, 0.5)
    maml.export(tmp_path / "1")


def test_arguments_that_are_compiled_cannot_be_changed():
    maml = small()
    for name, value in (("step_size", 0.0), ("num_updates", 7), ("optimizer", keras.optimizers.SGD()), ("loss", mse)):
        with pytest.raises(UserError, match=f"{name} cannot be changed, since it is compiled"):
            setattr(maml, name, value)
    maml.optimizer.learning_rate = 0.5  # this is a variable


def test_ragged_inputs_are_refused():
    with pytest.raises(UserError, match=r"a tf.RaggedTensor has examples of different sizes"):
        small().adapt(tf.ragged.constant([[1.0], [2.0, 3.0]]), np.ones((2, 1)))


def test_nested_numbers_keep_their_digits():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="float64")])
    maml = MAML(model, mse, step_size=0.1, task_axis="map", jit=False)
    x, y = [[0.1, 0.2], [0.3, 0.7]], [[1 / 3], [0.9]]
    for found, expected in zip(maml.adapt(x, y).params, maml.adapt(np.array(x), np.array(y)).params, strict=True):
        np.testing.assert_array_equal(found, expected)
    nested, arrays = (maml.meta_gradients(Tasks(*[cast(v) for v in ([x], [y], [x], [y])])) for cast in (list, np.array))
    for found, expected in zip(nested, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def of_numbers():
    return MAML(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), mse, task_axis="map", jit=False)


def test_one_task_without_its_axis_is_refused(of_numbers):
    one = Tasks(*(numbers(10, 1) for _ in range(4)))
    for call in (of_numbers.train_step, lambda tasks: of_numbers.evaluate(tasks, 1)):
        with pytest.raises(UserError, match=r"are one task, or many of one example: give \[tasks, examples, 1\]"):
            call(one)
    of_numbers.train_step(Tasks(*(value[None] for value in one)))
    of_numbers.train_step(Tasks(*(value[:, None] for value in one)))  # tasks of one example
    x, y = numbers(10, 3), numbers(10, 3, 1)
    of_numbers.train_step(Tasks(x, y, x, y))  # inputs that Keras gives a last axis of size 1


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_list_of_tasks_is_no_batch(of_numbers, count):
    several = [Tasks(*(numbers(5, 1) for _ in range(4))) for _ in range(count)]
    for call in (of_numbers.train_step, lambda tasks: of_numbers.evaluate(tasks, 1)):
        with pytest.raises(UserError, match=r"a list of Tasks is no batch: maml_tf\.by_size joins"):
            call(several)
    (batch,) = by_size(several)
    of_numbers.train_step(batch)


def test_batches_in_the_forms_of_keras_are_tasks(of_numbers):
    support_x, support_y, query_x, query_y = tasks = Tasks(*(numbers(3, 5, 1) for _ in range(4)))
    pairs = (support_x, support_y), (query_x, query_y)
    expected = of_numbers.evaluate(tasks, 1)["losses"]
    np.testing.assert_array_equal(of_numbers.evaluate(pairs, 1)["losses"], expected)
    for batch in Sinusoid(5).dataset("val", 4).take(2):
        assert of_numbers.evaluate(batch, 1)["losses"].shape == (4, 2)


def test_an_unknown_number_of_axes_is_refused(of_numbers):
    step = tf.function(of_numbers.train_step, autograph=False, input_signature=[Tasks(*[tf.TensorSpec(None)] * 4)])
    with pytest.raises(UserError, match="the number of axes of support_x is not known: give the dataset an output_sig"):
        step(GOOD)
