"""Tests what adapts, inner optimizers, offsets per update, minibatches and Reptile by NumPy and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import inner_optimizers, losses, networks
from maml_tf.adaptation import adapt
from maml_tf.maml import MAML
from maml_tf.optimizers import annealed_query_weights
from tests.maml_tf import test_meta_gradients
from tests.maml_tf.test_meta_gradients import assert_exact, random_tasks, randomise
from tests.maml_tf.test_variants import WAYS

MAP, VECTORIZED = WAYS
INNER_OPTIMIZERS = ", ".join(inner_optimizers.BY_NAME)
START, CENTRE = np.array([4.0, -3.0]), np.array([1.0, 2.0])


def numpy_momentum(gradients):
    m = 0
    for g in gradients:
        m = 0.9 * m + g
        yield m


def numpy_adam(gradients, first=0.9, root=1e-8):
    m = v = 0
    for t, g in enumerate(gradients, start=1):
        m, v = first * m + (1 - first) * g, 0.999 * v + 0.001 * g * g
        yield m / (1 - first**t) / (np.sqrt(v / (1 - 0.999**t) + root) + 1e-8)


RULES = {
    "momentum": (inner_optimizers.find("momentum"), numpy_momentum),
    "adam": (inner_optimizers.find("adam"), numpy_adam),
    "of Reptile": (inner_optimizers.find("adam", reptile=True), lambda gradients: numpy_adam(gradients, 0.0, 0.0)),
}


@pytest.mark.parametrize("num_updates", [4, tf.constant(4)], ids=["unrolled", "loop"])
@pytest.mark.parametrize("name", RULES)
def test_inner_optimizers_are_those_of_numpy(name, num_updates):
    optimizer, rule = RULES[name]
    position, gradients = START, []

    def descent():
        while True:
            gradients.append(2 * (position - CENTRE))
            yield gradients[-1]

    directions = rule(descent())
    for _ in range(4):
        position = position - 0.1 * next(directions)
    settings = {"step_size": 0.1, "num_updates": num_updates, "optimizer": optimizer}
    (found,), _ = adapt(lambda p, s: (tf.reduce_sum((p[0] - CENTRE) ** 2), s), [tf.constant(START)], (), **settings)
    np.testing.assert_allclose(found, position, rtol=1e-12)


def mlp(norm="None", **settings):
    num_updates = settings.setdefault("num_updates", 2)
    model = randomise(networks.mlp((3,), 2, (6,), norm, "float64", num_updates))
    return MAML(model, losses.mse, **{"step_size": 0.05, **MAP, **settings})


def meta_loss(maml):
    """Returns a function (maml, tasks) -> the loss that the meta-gradient differentiates, from the step's metrics."""

    def after(tasks):
        objective = maml._meta_objective(tasks)
        return maml._mean_over_tasks(objective, ("pre", "post"), maml.meta_variables, tasks, 0)[1]["post_loss"]

    after = maml.compiler(after)
    return lambda maml, tasks: after(tf.nest.map_structure(tf.constant, tasks)).numpy()


VARIANTS = {
    "head": {"adapts": "head"},
    "body": {"adapts": "body", "norm": "batch_norm"},
    "momentum": {"inner_optimizer": "momentum"},
    "adam": {"inner_optimizer": "adam", "step_size": 0.01},
    "offsets per update": {"norm": "per_update_batch_norm"},
    "minibatch": {"minibatch": 4},
    "all of MAML++": {"norm": "per_update_batch_norm", "learn_step_size": "per_update"},
    "much at once": {"inner_optimizer": "momentum", "minibatch": 4, "adapts": "body", "learn_step_size": "per_weight"},
}


BOTH_WAYS = {"adam", "all of MAML++"}  # tested in both ways by default; for the others, vectorising is slow


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param(name, way, id=f"{name}-{way['task_axis']}", marks=marks)
        for name in VARIANTS
        for way in WAYS
        for marks in ([pytest.mark.slow] if way is VECTORIZED and name not in BOTH_WAYS else [],)
    ],
)
def test_meta_gradients_are_those_of_finite_differences(name, settings, monkeypatch):
    maml = mlp(**VARIANTS[name], **settings)
    if maml.learner.minibatch:  # evaluate takes them in another order than training
        monkeypatch.setattr(test_meta_gradients, "query_loss", meta_loss(maml))
    assert len(assert_exact(maml, random_tasks((3,), 2))) == len(maml.meta_variables)


def test_what_adapts_by_name():
    def adapted(part):
        return [v.path for v in mlp("batch_norm", adapts=part).pure.adapted]

    body, head = ["dense1/kernel", "dense1/bias"], ["output/kernel", "output/bias"]
    assert (adapted("head"), adapted("body"), adapted("all")) == (head, body, body + head)
    assert adapted("everything") == [*body, "norm1/beta", *head]
    own = keras.Sequential([keras.Input((3,)), keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])])
    assert [v.shape for v in MAML(own, "mse", adapts="head").pure.adapted] == [(4, 2), (2,)]


def test_anil_is_maml_whose_body_has_step_sizes_of_zero():
    tasks = random_tasks((3,), 2)
    head, everything = mlp(adapts="head"), mlp(learn_step_size=True)
    for variable, size in zip(everything.pure.adapted, everything.step_sizes, strict=True):
        size.assign(0.05 if networks.is_head(variable) else 0.0)
    gradients = {v.path: g for v, g in zip(everything.weights, everything.meta_gradients(tasks), strict=False)}
    for variable, gradient in zip(head.weights, head.meta_gradients(tasks), strict=True):
        np.testing.assert_allclose(gradient, gradients[variable.path], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("settings", WAYS, ids=["map", "vectorize"])
def test_equal_step_sizes_for_all_updates_are_a_fixed_one(settings):
    tasks = random_tasks((3,), 2)
    found, expected = (mlp(learn_step_size=form, **settings).meta_gradients(tasks) for form in ("per_update", False))
    for gradient, fixed in zip(found, expected, strict=False):
        np.testing.assert_allclose(gradient, fixed, rtol=1e-12, atol=1e-15)


def test_a_step_may_be_to_first_order_or_descend_the_last_loss_alone():
    tasks, weights = random_tasks((3,), 2), annealed_query_weights(2, 10)

    def trained(told, **settings):
        maml = mlp(optimizer="sgd", **settings)
        maml.train_step(tasks, **told)
        return [v.numpy() for v in maml.weights]

    second, first = trained({}), trained({}, first_order=True)
    for told, weighted, expected in (
        ({"first_order": True}, None, first),
        ({"last": True}, weights, second),
        ({"first_order": True, "last": True}, weights, first),
    ):
        for value, other in zip(trained(told, query_weights=weighted), expected, strict=True):
            np.testing.assert_array_equal(value, other)
    assert any((one != other).any() for one, other in zip(first, second, strict=True))


def test_offsets_of_the_update_that_is_made_and_of_its_queries():
    """Compares with NumPy. Every update has its own offsets; updates beyond those of training take the last ones."""
    maml, tasks = mlp("per_update_batch_norm", num_updates=2, adapts=lambda v: v.path == "output/bias"), None
    tasks = random_tasks((3,), 2)
    kernel, bias, offsets, out, out_bias = (v.numpy() for v in maml.model.trainable_variables)
    assert offsets.shape == (2, 6)

    def outputs(x, update, out_bias):
        hidden = x @ kernel + bias
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-3) + offsets[min(update, 1)]
        return np.maximum(hidden, 0) @ out + out_bias

    found = maml.evaluate(tasks, 4)["losses"]
    for i, (x, y, query_x, query_y) in enumerate(zip(*tasks, strict=True)):
        adapted, expected = out_bias, [np.mean((outputs(query_x, 0, out_bias) - query_y) ** 2)]
        for update in range(4):
            adapted = adapted - 0.05 * 2 * (outputs(x, update, adapted) - y).sum(0) / y.size
            expected.append(np.mean((outputs(query_x, update, adapted) - query_y) ** 2))
        np.testing.assert_allclose(found[i], expected, rtol=1e-12)
        answer = maml.predict(query_x, maml.adapt(x, y, 4), transductive=True)
        np.testing.assert_allclose(losses.mse(answer, query_y), expected[-1], rtol=1e-12)


def test_offsets_per_update_travel_into_an_export(tmp_path):
    maml, tasks = mlp("per_update_batch_norm", num_updates=2), random_tasks((3,), 2)
    loaded = tf.saved_model.load(str(maml.export(tmp_path / "export")))
    x, y, query = (tf.constant(array[0]) for array in tasks[:3])
    found = loaded.adapt_and_predict(x, y, query)["query_outputs"]
    np.testing.assert_allclose(found, maml.predict(query, maml.adapt(x, y)), rtol=1e-12)
    again = loaded.predict_with(query, loaded.adapt(x, y))["outputs"]
    np.testing.assert_allclose(again, found, rtol=1e-12)


def test_minibatches_take_each_example_once_before_any_comes_again():
    learner = mlp(minibatch=4).learner
    order = learner.order(3, 6, 6, tf.constant([5, 0])).numpy()
    assert order.shape == (3, 6, 4)
    for task in order.reshape(3, 4, 6):
        assert (np.sort(task) == np.arange(6)).all()
    assert len({task.tobytes() for task in order}) == 3
    assert learner.order(3, 2, 5, tf.constant([5, 0])).shape == (3, 5, 2)  # no more examples than there are
    np.testing.assert_array_equal(order, learner.order(3, 6, 6, tf.constant([5, 0])))
    assert mlp(minibatch=None).learner.order(3, 6, 6, tf.constant([5, 0])) is None


def test_minibatches_of_all_examples_are_the_whole_support():
    whole, batched, tasks = mlp(), mlp(minibatch=9), random_tasks((3,), 2)
    for num_updates in (1, 5):
        found, expected = (maml.evaluate(tasks, num_updates)["losses"] for maml in (batched, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        task = tasks.support_x[0], tasks.support_y[0]
        found, expected = (maml.adapt(*task, num_updates).params for maml in (batched, whole))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10)


def test_with_minibatches_a_test_adapts_as_adapt_does_however_its_tasks_are_cut():
    maml, tasks, num_updates = mlp(minibatch=4), random_tasks((3,), 2), 5  # more updates than in training
    found = maml.evaluate(tasks, num_updates)["losses"]
    for i, task in enumerate(zip(*tasks, strict=True)):
        alone = maml.evaluate(Tasks(*(values[None] for values in task)), num_updates)["losses"][0]
        np.testing.assert_allclose(alone, found[i], rtol=1e-12)
        adapted = maml.adapt(task[0], task[1], num_updates)
        np.testing.assert_allclose(losses.mse(maml.predict(task[2], adapted), task[3]), alone[-1], rtol=1e-12)


def test_minibatches_are_the_same_by_xla():
    settings = {"minibatch": 4, "first_order": True, "optimizer": "sgd"}  # less to compile
    found = [mlp(**settings, **way).train_step(random_tasks((3,), 2))["pre_loss"] for way in WAYS]
    np.testing.assert_allclose(*found, rtol=1e-10)


def reptile(**settings):
    return mlp(algorithm="reptile", **settings)


@pytest.mark.parametrize("settings", WAYS, ids=["map", "vectorize"])
def test_reptile_goes_towards_the_adapted_weights(settings):
    maml, tasks = reptile(norm="batch_norm", optimizer=keras.optimizers.SGD(0.25), **settings), random_tasks((3,), 2)
    assert len(maml.pure.adapted) == len(maml.model.trainable_variables)
    before = [v.numpy() for v in maml.weights]
    adapted = [maml.adapt(x, y).params for x, y in zip(tasks.support_x, tasks.support_y, strict=True)]
    metrics = maml.train_step(tasks)
    assert set(metrics) == {"pre_loss", "post_loss"}
    for variable, old, *new in zip(maml.weights, before, *adapted, strict=True):
        np.testing.assert_allclose(variable, old + 0.25 * (np.mean(new, axis=0) - old), rtol=1e-10, atol=1e-14)


def test_reptile_with_one_update_is_joint_training():
    """Joint training is gradient descent on all tasks together; its learning rate is the product of both rates."""
    tasks = random_tasks((3,), 2)
    maml = reptile(num_updates=1, step_size=0.0625, optimizer=keras.optimizers.SGD(0.5))
    joint = mlp(num_updates=1, pretrain_optimizer=keras.optimizers.SGD(0.5 * 0.0625))  # exact in float32
    maml.train_step(tasks)
    joint.pretrain_step(tasks)
    for variable, other in zip(maml.weights, joint.weights, strict=True):
        np.testing.assert_allclose(variable, other, rtol=1e-12)


def test_the_inner_adam_of_reptile_continues_from_the_mean_over_tasks():
    maml, tasks = reptile(inner_optimizer="adam", num_updates=2, step_size=0.01), random_tasks((3,), 2)
    assert len(maml.slots) == len(maml.weights) + 1
    maml.train_step(tasks)
    counts = [slot.numpy() for slot in maml.slots if slot.shape == ()]
    assert counts == [2.0]
    squares = [slot.numpy() for slot in maml.slots[: len(maml.weights)]]
    adapted = maml.adapt(tasks.support_x[0], tasks.support_y[0], 1).params
    outputs, _, _ = maml.pure(*maml.start()[:3], tasks.support_x[0])
    residual = 2 * (outputs.numpy() - tasks.support_y[0]).sum(0) / tasks.support_y[0].size  # by the output's bias
    v = 0.999 * squares[-1] + 0.001 * residual**2
    expected = maml.weights[-1].numpy() - 0.01 * residual / (np.sqrt(v / (1 - 0.999**3)) + 1e-8)
    np.testing.assert_allclose(adapted[-1], expected, rtol=1e-10)


def test_learned_step_sizes_start_anywhere_between_two():
    keras.utils.set_random_seed(3)
    maml = mlp(learn_step_size="per_weight", step_size=(0.005, 0.1), optimizer="sgd")
    sizes = np.concatenate([size.numpy().ravel() for size in maml.step_sizes])
    assert 0.005 <= sizes.min() < 0.03
    assert 0.08 < sizes.max() <= 0.1
    assert len(np.unique(sizes)) == len(sizes)
    maml.train_step(random_tasks((3,), 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adapts": "tail"}, "adapts must be one of all, head, body, everything, or a predicate"),
        ({"inner_optimizer": "rmsprop"}, f"inner_optimizer must be one of {INNER_OPTIMIZERS}, or an InnerOptimizer"),
        ({"algorithm": "leap"}, "algorithm must be 'maml' or 'reptile', not 'leap'"),
        ({"algorithm": "reptile", "learn_step_size": True}, "so it takes no learn_step_size"),
        ({"algorithm": "reptile", "adapts": "head"}, "so it takes no adapts"),
        ({"minibatch": -2}, "minibatch must be at least 1, but is -2"),
        ({"minibatch": 0}, "minibatch must be at least 1, but is 0"),
        ({"step_size": (0.2, 0.1), "learn_step_size": True}, "must be .low, high."),
        ({"step_size": [0.1], "learn_step_size": True}, "step_size has 1 numbers, but . variables adapt: give one for"),
        ({"step_size": (0.1, 0.2)}, "a pair of step sizes is where learned ones start"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        mlp(**settings)
