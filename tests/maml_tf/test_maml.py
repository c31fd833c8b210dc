"""MAML's steps, evaluation, adaptation and prediction."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import layers, losses, networks
from maml_tf.adaptation import adapt
from maml_tf.maml import MAML, adam

NUM_TASKS, SUPPORT, QUERY = 3, 5, 4


@pytest.fixture
def tasks():
    rng = np.random.default_rng(0)
    shapes = [(SUPPORT, 3), (SUPPORT, 2), (QUERY, 3), (QUERY, 2)]
    return Tasks(*[rng.normal(size=(NUM_TASKS, *shape)) for shape in shapes])


def mlp(norm="None"):
    rng = np.random.default_rng(1)
    model = networks.mlp((3,), 2, (6,), norm, dtype="float64")
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return model


def make(model=None, loss=losses.mse, **settings):
    settings = {"step_size": 0.1, "task_axis": "map", "jit": False} | settings
    return MAML(model or mlp(), loss, **settings)


def values(variables):
    return [v.numpy() for v in variables]


def assert_all_close(actual, expected, rtol=1e-12):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=rtol, atol=1e-15)


@pytest.mark.parametrize("settings", [{}, {"num_updates": 2, "learn_step_size": True}, {"first_order": True}])
def test_train_step_is_adam_on_the_meta_gradient(tasks, settings):
    stepped, reference = make(**settings), make(**settings)
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    for _ in range(3):
        stepped.train_step(tasks)
        optimizer.apply(reference.meta_gradients(tasks), reference.meta_variables)
    assert_all_close(values(stepped.meta_variables), values(reference.meta_variables))
    assert len(stepped.step_sizes) == (4 if settings.get("learn_step_size") else 0)
    assert all(size.numpy() != 0.1 for size in stepped.step_sizes)


def test_pretrain_step_is_adam_on_the_mean_support_loss(tasks):
    maml, reference = make(mlp("batch_norm")), mlp("batch_norm")
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    for _ in range(3):
        metrics = maml.pretrain_step(tasks)
        with tf.GradientTape() as tape:
            of_tasks = [losses.mse(reference(x), y) for x, y in zip(tasks.support_x, tasks.support_y, strict=True)]
            loss = tf.add_n(of_tasks) / NUM_TASKS
        gradients = tape.gradient(loss, reference.trainable_variables)
        optimizer.apply(gradients, reference.trainable_variables)
        np.testing.assert_allclose(metrics["pre_loss"], loss, rtol=1e-12)
    assert set(metrics) == {"pre_loss"}
    assert_all_close(values(maml.model.trainable_variables), values(reference.trainable_variables), rtol=1e-9)


def test_pretraining_and_meta_training_have_an_adam_each(tasks):
    maml = make()
    maml.pretrain_step(tasks)
    maml.pretrain_step(tasks)
    maml.train_step(tasks)
    assert (maml.pretrain_optimizer.iterations.numpy(), maml.optimizer.iterations.numpy()) == (2, 1)


def test_clipping_is_elementwise_and_comes_after_the_mean_over_tasks(tasks):
    clip = 0.02
    maml = make(optimizer=adam(clip=clip))
    gradients = [g.numpy() for g in maml.meta_gradients(tasks)]
    maml.train_step(tasks)
    moments = [v.numpy() for v in maml.optimizer.variables if v.path.endswith("momentum")]
    assert_all_close(moments, [0.1 * np.clip(g, -clip, clip) for g in gradients])
    flat = np.abs(np.concatenate([g.ravel() for g in gradients]))
    assert 0 < np.mean(flat > clip) < 1


def test_metrics_are_means_over_tasks_before_and_after_adaptation(tasks):
    maml = make(accuracy=losses.accuracy, num_updates=2)
    curves = maml.evaluate(tasks, 2)
    metrics = maml.train_step(tasks)
    expected = {
        "pre_loss": curves["support_loss"],
        "pre_accuracy": curves["support_accuracy"],
        "post_loss": curves["losses"][:, 2],
        "post_accuracy": curves["accuracies"][:, 2],
    }
    assert metrics.keys() == expected.keys()
    for name, of_tasks in expected.items():
        np.testing.assert_allclose(metrics[name], of_tasks.mean(), rtol=1e-12)


def test_training_lowers_the_loss(tasks):
    maml = make(optimizer=adam(0.01), num_updates=2)
    history = [float(maml.train_step(tasks)["post_loss"]) for _ in range(100)]
    assert history[-1] < 0.5 * history[0]
    assert history[-1] < history[50] < history[0]


def test_evaluate_reports_the_query_from_before_adaptation_on(tasks):
    maml = make(accuracy=losses.accuracy)
    curves = maml.evaluate(tasks, 3)
    assert {name: value.shape for name, value in curves.items()} == {
        "support_loss": (NUM_TASKS,),
        "losses": (NUM_TASKS, 4),
        "support_accuracy": (NUM_TASKS,),
        "accuracies": (NUM_TASKS, 4),
    }
    for i in range(NUM_TASKS):
        x, y, query_x, query_y = (array[i] for array in tasks)
        np.testing.assert_allclose(curves["support_loss"][i], losses.mse(maml.model(x), y), rtol=1e-12)
        np.testing.assert_allclose(curves["support_accuracy"][i], losses.accuracy(maml.model(x), y), rtol=1e-12)
        for updates in range(4):
            outputs = maml.predict(query_x, maml.adapt(x, y, num_updates=updates), transductive=True)
            np.testing.assert_allclose(curves["losses"][i, updates], losses.mse(outputs, query_y), rtol=1e-12)
            accuracy = losses.accuracy(outputs, query_y)
            np.testing.assert_allclose(curves["accuracies"][i, updates], accuracy, rtol=1e-12)
    alone = maml.evaluate(tasks, 0)
    np.testing.assert_allclose(alone["losses"], curves["losses"][:, :1], rtol=1e-12)
    np.testing.assert_allclose(alone["support_loss"], curves["support_loss"], rtol=1e-12)


def test_adapt_takes_gradient_steps(tasks):
    maml, x, y = make(num_updates=2), tasks.support_x[0], tasks.support_y[0]
    weights = [tf.constant(w) for w in values(maml.weights)]

    def plain(params, state):
        return losses.mse(tf.nn.relu(x @ params[0] + params[1]) @ params[2] + params[3], y), state

    for settings in ({}, {"num_updates": 3}, {"step_size": 0.02}):
        expected, _ = adapt(plain, weights, (), **({"step_size": 0.1, "num_updates": 2} | settings))
        assert_all_close(maml.adapt(x, y, **settings).params, expected)
    expected, _ = adapt(plain, weights, (), step_size=[0.01, 0.02, 0.03, 0.04], num_updates=1)
    for sizes in ([0.01, 0.02, 0.03, 0.04], [tf.constant(s, tf.float64) for s in (0.01, 0.02, 0.03, 0.04)]):
        assert_all_close(maml.adapt(x, y, 1, sizes).params, expected)
    smaller = maml.evaluate(tasks, 2, step_size=0.02)["losses"][0]
    np.testing.assert_array_equal(
        maml.evaluate(tasks, 2, step_size=tf.constant(0.02, tf.float64))["losses"][0], smaller
    )
    outputs = maml.predict(tasks.query_x[0], maml.adapt(x, y, step_size=0.02))
    np.testing.assert_allclose(smaller[2], losses.mse(outputs, tasks.query_y[0]), rtol=1e-12)


def test_learned_step_sizes_are_used_by_adapt(tasks):
    maml, x, y = make(learn_step_size=True), tasks.support_x[0], tasks.support_y[0]
    before = maml.adapt(x, y)
    for i, size in enumerate(maml.step_sizes):
        size.assign(0.1 * i)
    for i, (start, single, now) in enumerate(zip(maml.weights, before.params, maml.adapt(x, y).params, strict=True)):
        np.testing.assert_allclose(now - start, i * (single - start), rtol=1e-9, atol=1e-15)


def test_adapting_predicting_and_evaluating_change_no_variable(tasks):
    model = keras.Sequential(
        [keras.Input((3,), dtype="float64"), keras.layers.Dropout(0.2, dtype="float64"), *mlp("batch_norm").layers[1:]]
    )
    maml = make(model, learn_step_size=True)
    before = values([*model.variables, *maml.step_sizes])
    maml.predict(tasks.query_x[0], maml.adapt(tasks.support_x[0], tasks.support_y[0], num_updates=2))
    maml.evaluate(tasks, 1)
    maml.meta_gradients(tasks)
    for value, variable in zip(before, [*model.variables, *maml.step_sizes], strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_predict_follows_the_weights_as_they_are(tasks):
    """This includes weights that do not adapt: they may have been trained since the last call."""
    maml, x = make(mlp("batch_norm")), tasks.query_x[0]
    adapted = maml.adapt(tasks.support_x[0], tasks.support_y[0])
    for predict in (lambda: maml.predict(x), lambda: maml.predict(x, adapted)):
        before = predict().numpy()
        beta = maml.pure.shared[0]
        beta.assign(beta + 10.0)
        assert np.abs(predict() - before).min() > 1e-3
    np.testing.assert_allclose(maml.predict(x, transductive=True), maml.model(x), rtol=1e-12)


def test_inductive_prediction_normalises_by_the_supports_statistics(tasks):
    inputs = keras.Input((3,), dtype="float64")
    norm, dense = layers.BatchNorm(dtype="float64"), keras.layers.Dense(2, dtype="float64")
    maml = make(keras.Model(inputs, dense(norm(inputs))))
    x, query = tasks.support_x[0], 3 + 2 * tasks.query_x[0]
    adapted = maml.adapt(x, tasks.support_y[0])
    kernel, bias = adapted.params
    for transductive, source in ((True, query), (False, x)):
        normalised = (query - source.mean(0)) / np.sqrt(source.var(0) + 1e-3)
        outputs = maml.predict(query, adapted, transductive=transductive)
        np.testing.assert_allclose(outputs, normalised @ kernel.numpy() + bias.numpy(), rtol=1e-12)


def test_inductive_statistics_are_those_under_the_adapted_weights(tasks):
    """So the support itself is normalised in the same way by its own statistics and by those that were kept."""
    maml, x = make(mlp("batch_norm"), step_size=0.5), tasks.support_x[0]
    adapted = maml.adapt(x, tasks.support_y[0])
    np.testing.assert_allclose(maml.predict(x, adapted), maml.predict(x, adapted, transductive=True), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:layer .* has wrong second derivatives")
@pytest.mark.parametrize(("step", "passes"), [("train_step", 2), ("pretrain_step", 1)])
def test_moving_averages_get_the_mean_over_tasks_of_the_support_updates(tasks, step, passes):
    inputs = keras.Input((3,), dtype="float64")
    norm = keras.layers.BatchNormalization(momentum=0.9, dtype="float64")
    maml = make(keras.Model(inputs, keras.layers.Dense(2, dtype="float64")(norm(inputs))), num_updates=2)
    getattr(maml, step)(tasks)
    new = 1 - 0.9**passes  # each pass over the support moves them a tenth of the way
    np.testing.assert_allclose(norm.moving_mean.numpy(), new * tasks.support_x.mean(1).mean(0), rtol=1e-12)
    expected = 0.9**passes + new * tasks.support_x.var(1).mean(0)
    np.testing.assert_allclose(norm.moving_variance.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"task_axis": "vectorize", "jit": True}])
def test_a_step_is_traced_once(tasks, settings):
    traces = []

    def counted(outputs, targets):
        traces.append(1)
        return losses.mse(outputs, targets)

    maml = make(loss=counted, **settings)
    for work in (maml.train_step, maml.pretrain_step, maml.meta_gradients, lambda t: maml.evaluate(t, 1)):
        work(tasks)
        count = len(traces)
        work(tasks)
        work(Tasks(*[array + 1 for array in tasks]))
        assert len(traces) == count > 0
    maml.train_step(Tasks(*[array[:2] for array in tasks]))  # another shape is another trace
    assert len(traces) > count


def test_a_users_loss_may_branch_on_tensors_in_a_tf_function(tasks):
    @tf.function
    def loss(outputs, targets):
        if tf.reduce_sum(targets) > 1e9:
            return tf.reduce_sum(outputs)
        return losses.mse(outputs, targets)

    assert_all_close(make(loss=loss).meta_gradients(tasks), make().meta_gradients(tasks))


def test_inputs_are_cast_to_the_dtype_of_the_model(tasks):
    maml = make(networks.mlp((3,), 2, (6,)))
    assert maml.evaluate(tasks, 1)["losses"].dtype == np.float32
    assert maml.predict(tasks.query_x[0]).dtype == tf.float32


def test_meta_training_without_an_update_is_refused():
    with pytest.raises(ValueError, match="num_updates must be at least 1, but is 0"):
        make(num_updates=0)
