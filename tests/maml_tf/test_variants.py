"""Tests of MAML's variants: forms of a learned step size, weights of the query losses, and only the head adapting."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import losses, networks, step_sizes
from maml_tf.export import DESCRIPTION
from maml_tf.maml import MAML
from tests.maml_tf.test_meta_gradients import STEP, TOLERANCE, assert_exact, randomise

WAYS = [{"task_axis": "map", "jit": False}, {"task_axis": "vectorize", "jit": True}]
SHAPES = {True: (), "per_update": (3,), "per_weight": (3, 2)}  # shapes for the first kernel


@pytest.fixture(scope="module")
def tasks():
    rng = np.random.default_rng(0)
    return Tasks(*(rng.normal(size=(2, 6, n)) for n in (3, 2, 3, 2)))


def linear(form, **settings):
    """Returns a MAML of a linear model; its learned step sizes differ from each other."""
    model = randomise(keras.Sequential([keras.Input((3,), dtype="float64"), keras.layers.Dense(2, dtype="float64")]))
    settings = {"num_updates": 3, "task_axis": "map", "jit": False} | settings
    maml = MAML(model, losses.mse, step_size=0.05, learn_step_size=form, **settings)
    for size in maml.step_sizes:
        size.assign(0.05 + 0.02 * np.random.default_rng(4).random(size.shape))
    return maml


def by_hand(maml, task, num_updates):
    """Returns the query loss of one task after each update, computed by NumPy."""
    support_x, support_y, query_x, query_y = task
    params, found = [v.numpy() for v in maml.weights], []
    for i in range(num_updates):
        residual = 2 * (support_x @ params[0] + params[1] - support_y) / support_y.size
        gradients = support_x.T @ residual, residual.sum(0)
        sizes = [size.numpy() for size in maml.step_sizes]
        if maml.learn_step_size == "per_update":
            sizes = [size[min(i, len(size) - 1)] for size in sizes]
        params = [p - s * g for p, s, g in zip(params, sizes, gradients, strict=True)]
        found.append(np.mean((query_x @ params[0] + params[1] - query_y) ** 2))
    return found


@pytest.mark.parametrize("form", SHAPES)
def test_updates_by_learned_step_sizes(tasks, form):
    """Updates beyond those of training take the step sizes of the last one."""
    maml = linear(form)
    assert maml.step_sizes[0].shape == SHAPES[form]
    found = maml.evaluate(tasks, 5)["losses"]
    for i, task in enumerate(zip(*tasks, strict=True)):
        np.testing.assert_allclose(found[i, 1:], by_hand(maml, task, 5), rtol=1e-12)
        adapted = maml.adapt(task[0], task[1], 5)
        np.testing.assert_allclose(losses.mse(maml.predict(task[2], adapted), task[3]), found[i, 5], rtol=1e-12)
    before = [size.numpy() for size in maml.step_sizes]
    assert float(maml.train_step(tasks)["post_loss"]) == pytest.approx(found[:, 3].mean(), rel=1e-12)
    assert all(np.all(size != old) for size, old in zip(maml.step_sizes, before, strict=True))


@pytest.mark.parametrize("settings", WAYS)
@pytest.mark.parametrize("form", SHAPES)
def test_meta_gradients_of_learned_step_sizes_are_those_of_finite_differences(tasks, form, settings):
    model = randomise(networks.mlp((3,), 2, (8,), "batch_norm", dtype="float64"))
    maml = MAML(model, losses.mse, step_size=0.05, num_updates=2, learn_step_size=form, **settings)
    measured = assert_exact(maml, tasks)
    assert len(measured) == len(maml.weights) + 4


@pytest.mark.parametrize("settings", WAYS)
def test_weighted_query_losses(tasks, settings):
    """Compares their meta-gradient with finite differences; the weights change with the meta-updates."""
    model = randomise(networks.mlp((3,), 2, (8,), dtype="float64"))
    weights = tf.constant([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], tf.float64)
    settings = {"step_size": 0.05, "num_updates": 3, **settings}
    maml = MAML(model, losses.mse, query_weights=lambda done: weights[tf.minimum(done, 1)], **settings)
    plain = MAML(model, losses.mse, **settings | WAYS[0])  # the same weights, but less to compile

    def objective():
        return (plain.evaluate(tasks, 3)["losses"][:, 1:] @ weights[0].numpy()).mean()

    rng = np.random.default_rng(3)
    for variable, gradient in zip(maml.meta_variables, maml.meta_gradients(tasks), strict=True):
        start, direction = variable.numpy(), rng.normal(size=variable.shape)
        above, below = ((variable.assign(start + s * STEP * direction), objective())[1] for s in (1, -1))
        variable.assign(start)
        np.testing.assert_allclose(np.sum(gradient * direction), (above - below) / (2 * STEP), rtol=TOLERANCE)
    after = plain.evaluate(tasks, 3)["losses"][:, 3].mean()
    np.testing.assert_allclose(maml.train_step(tasks)["post_loss"], after, rtol=1e-12)  # after the last update
    for weighted, last in zip(maml.meta_gradients(tasks), plain.meta_gradients(tasks), strict=True):
        np.testing.assert_allclose(weighted, last, rtol=1e-9)


def test_only_the_head_adapts(tasks):
    maml = MAML(networks.mlp((3,), 2, (4,), dtype="float64"), "mse", step_size=0.1, adapts=networks.is_head)
    assert [v.path for v in maml.pure.adapted] == ["output/kernel", "output/bias"]
    assert len(maml.meta_gradients(tasks)) == 4


@pytest.mark.parametrize("settings", WAYS)
def test_step_sizes_given_for_each_update(tasks, settings):
    """One graph serves all step sizes."""
    maml = linear(False, **settings)
    single = maml.evaluate(tasks, 3, 0.07)["losses"]
    np.testing.assert_allclose(maml.evaluate(tasks, 3, np.full(3, 0.07))["losses"], single, rtol=1e-14)
    alphas = np.array([0.1, 0.02, 0.05])
    found, x, y = maml.evaluate(tasks, 3, alphas)["losses"], tasks.support_x[1], tasks.support_y[1]
    adapted = maml.adapt(x, y, 3, alphas)
    np.testing.assert_allclose(losses.mse(maml.predict(tasks.query_x[1], adapted), tasks.query_y[1]), found[1, 3])
    for alpha in alphas:
        for variable, value in zip(maml.pure.adapted, maml.adapt(x, y, 1, float(alpha)).params, strict=True):
            variable.assign(value)
    for variable, value in zip(maml.pure.adapted, adapted.params, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-12)


def test_what_does_not_fit_is_refused(tasks):
    with pytest.raises(UserError, match="learn_step_size must be False, True, 'per_update' or 'per_weight'"):
        linear("per_layer")
    with pytest.raises(UserError, match=r"query_weights gives \(2,\)"):
        linear(False, query_weights=lambda done: [0.5, 0.5]).train_step(tasks)
    for call in (
        lambda sizes: linear(False).evaluate(tasks, 3, sizes),
        lambda sizes: linear(False).adapt(tasks.support_x[0], tasks.support_y[0], 3, sizes),
    ):
        with pytest.raises(UserError, match=r"step_size has the shape \(2,\), but there are 3 updates"):
            call(np.array([0.1, 0.1]))


@pytest.mark.parametrize("form", ["per_update", "per_weight"])
def test_exports_adapt_by_learned_step_sizes(tasks, form, tmp_path):
    maml = linear(form)
    loaded = tf.saved_model.load(str(maml.export(tmp_path / "export")))
    x, y, query = (tf.constant(array[0]) for array in tasks[:3])
    expected = maml.predict(query, maml.adapt(x, y))
    np.testing.assert_allclose(loaded.adapt_and_predict(x, y, query)["query_outputs"], expected, rtol=1e-12)
    answer = loaded.adapt_and_predict_with(x, y, query, tf.constant(0.1, tf.float64), 2)["query_outputs"]
    np.testing.assert_allclose(answer, maml.predict(query, maml.adapt(x, y, 2, 0.1)), rtol=1e-12)
    described = json.loads((tmp_path / "export" / DESCRIPTION).read_text())["step_size"]
    if form == "per_update":
        assert list(described.values()) == [size.numpy().tolist() for size in maml.step_sizes]
    else:
        assert described == "one for each weight, meta-learned"


def test_learned_forms_begin_at_the_step_size():
    variables = [keras.Variable(np.zeros(shape), dtype="float64") for shape in ((3, 2), (2,))]
    for form, shapes in ((False, []), (True, [(), ()]), ("per_update", [(4,)] * 2), ("per_weight", [(3, 2), (2,)])):
        found = step_sizes.learned(form, 0.1, variables, 4)
        assert [tuple(size.shape) for size in found] == shapes
        assert all((size.numpy() == 0.1).all() and size.dtype == "float64" for size in found)


@pytest.mark.parametrize(
    ("step_size", "message"),
    [
        (math.nan, "must be a finite number"),
        ([0.1, math.inf], "must be a finite number"),
        (np.array([0.1, math.nan]), "must be a finite number"),
        (lambda update: 0.1, "must be a finite number"),
        ([0.1] * 3, "there are 3 step sizes for 2 variables that adapt: give one for each"),
    ],
)
def test_step_sizes_that_cannot_be_used_are_refused_wherever_they_are_given(tasks, step_size, message):
    model = networks.mlp((3,), 2, (), dtype="float64")
    maml, few = MAML(model, losses.mse), Tasks(*tasks)
    with pytest.raises(UserError, match=message):
        maml.evaluate(few, 2, step_size=step_size)
    with pytest.raises(UserError, match=message):
        maml.adapt(few.support_x[0], few.support_y[0], 2, step_size)
    if not isinstance(step_size, np.ndarray):
        with pytest.raises(UserError, match=r"finite number|step_size has 3 numbers, but 2 variables adapt"):
            MAML(model, losses.mse, step_size=step_size)


FORMS = {
    "NumPy's": np.float32(0.125),
    "an array without axes": np.array(0.125),
    "a tensor": tf.constant(0.125, tf.float64),
    "a variable": tf.Variable(0.125, dtype=tf.float64),
    "a variable of Keras": keras.Variable(0.125, dtype="float64"),
    "one for each variable": [0.125, np.float32(0.125)],
    "a tuple of them": (0.125, 0.125),
    "an array of one for each update": np.full(3, 0.125, np.float32),
    "a tensor of them": tf.fill([3], tf.constant(0.125)),
    "a variable of them": tf.Variable(np.full(3, 0.125)),
}


@pytest.fixture(scope="module")
def maml():
    return MAML(networks.mlp((3,), 2, (), dtype="float64"), losses.mse, task_axis="map", jit=False)


@pytest.mark.parametrize("form", FORMS)
def test_a_step_size_may_have_any_of_these_forms(tasks, maml, form):
    task = tasks.support_x[0], tasks.support_y[0]
    given, expected = FORMS[form], maml.adapt(*task, 3, 0.125).params
    compiled = tf.function(lambda: maml.adapt(*task, 3, given), autograph=False)
    for found in (maml.adapt(*task, 3, given), compiled()):
        for value, other in zip(found.params, expected, strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-12)
    curves = maml.evaluate(tasks, 3, given)["losses"]
    np.testing.assert_allclose(curves, maml.evaluate(tasks, 3, 0.125)["losses"], rtol=1e-12)


def test_an_adaptation_can_be_differentiated_in_the_step_sizes_of_its_updates(tasks, maml):
    def first_weight(alphas):
        return tf.reduce_sum(maml.adapt(tasks.support_x[0], tasks.support_y[0], 2, alphas).params[0])

    alphas = tf.constant([0.1, 0.2], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        value = first_weight(alphas)
    found = tape.gradient(value, alphas)
    for update in range(2):
        change = 1e-6 * tf.one_hot(update, 2, dtype=tf.float64)
        slope = (first_weight(alphas + change) - first_weight(alphas - change)) / 2e-6
        np.testing.assert_allclose(found[update], slope, rtol=1e-6)
