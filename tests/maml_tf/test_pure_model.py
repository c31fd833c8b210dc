"""Tests of a Keras model as a pure function: the variables that adapt, state, seeds, statistics, and refusals."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import layers, losses, networks
from maml_tf import task_axis as axis
from maml_tf.adaptation import adapt
from maml_tf.maml import MAML
from maml_tf.pure_model import PureModel


def functional(*stack, shape=(3,)):
    x = inputs = keras.Input(shape, dtype="float64")
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x)


def dense(units, **settings):
    return keras.layers.Dense(units, dtype="float64", **settings)


def tensors(variables):
    return [tf.convert_to_tensor(v) for v in variables]


def names(variables):
    return [v.path for v in variables]


def test_partition_into_adapted_shared_and_state():
    pure = PureModel(networks.mlp((3,), 2, (4,), "batch_norm"))
    assert names(pure.adapted) == ["dense1/kernel", "dense1/bias", "output/kernel", "output/bias"]
    assert names(pure.shared) == ["norm1/beta"]
    assert names(pure.state) == ["norm1/mean", "norm1/variance"]
    pure = PureModel(networks.mlp((3,), 2, (4,), "layer_norm"))
    assert names(pure.shared) == ["norm1/gamma", "norm1/beta"]
    assert pure.state == []


def test_meta_only_holds_for_nested_and_for_the_users_own_layers():
    class MetaLearned(keras.layers.Dense):
        meta_only = True

    inner = functional(dense(3, name="adapted"), layers.BatchNorm(dtype="float64", name="norm"))
    pure = PureModel(functional(inner, MetaLearned(2, dtype="float64", name="fixed"), dense(1, name="last")))
    assert names(pure.adapted) == ["adapted/kernel", "adapted/bias", "last/kernel", "last/bias"]
    assert names(pure.shared) == ["norm/beta", "fixed/kernel", "fixed/bias"]


def test_a_frozen_layer_is_state():
    model = functional(dense(2, name="frozen"), dense(1, name="free"))
    model.get_layer("frozen").trainable = False
    pure = PureModel(model)
    assert names(pure.adapted) == ["free/kernel", "free/bias"]
    assert names(pure.state) == ["frozen/kernel", "frozen/bias"]


def test_a_predicate_chooses_what_adapts():
    """ANIL: only the last layer adapts, but the others are meta-learned too."""
    keras.utils.set_random_seed(0)
    model = functional(dense(4, name="body", activation="tanh"), dense(1, name="head"))
    maml = MAML(
        model, losses.mse, step_size=0.1, adapts=lambda v: v.path.startswith("head"), task_axis="map", jit=False
    )
    assert names(maml.pure.adapted) == ["head/kernel", "head/bias"]
    assert names(maml.pure.shared) == ["body/kernel", "body/bias"]
    rng = np.random.default_rng(0)
    tasks = [rng.normal(size=(2, 5, n)) for n in (3, 1, 3, 1)]
    adapted = maml.adapt(tasks[0][0], tasks[1][0])
    head = model.get_layer("head")
    features = keras.Model(model.input, head.input)(tasks[0][0]).numpy()
    residual = features @ head.kernel.numpy() + head.bias.numpy() - tasks[1][0]
    np.testing.assert_allclose(adapted.params[0], head.kernel.numpy() - 0.1 * 2 * features.T @ residual / 5, rtol=1e-12)

    gradients = maml.meta_gradients(Tasks(*tasks))
    assert names(maml.meta_variables) == [*names(maml.pure.adapted), *names(maml.pure.shared)]
    assert all(np.linalg.norm(g) > 0 for g in gradients)


def test_tensors_stand_in_for_all_variables_and_nothing_is_assigned():
    model = functional(dense(2), layers.BatchNorm(dtype="float64"))
    pure, x = PureModel(model), np.random.default_rng(0).normal(size=(6, 3))
    before = [v.numpy() for v in model.variables]
    adapted = [2 + tf.convert_to_tensor(v) for v in pure.adapted]
    shared = [tf.constant([10.0, 20.0], tf.float64)]
    outputs, state, penalty = pure(adapted, shared, tensors(pure.state), x)
    product = x @ adapted[0].numpy() + adapted[1].numpy()
    expected = (product - product.mean(0)) / np.sqrt(product.var(0) + 1e-3) + [10, 20]
    np.testing.assert_allclose(outputs, expected, rtol=1e-12)
    np.testing.assert_allclose(state[0], product.mean(0), rtol=1e-12)
    np.testing.assert_allclose(state[1], product.var(0), rtol=1e-12)
    assert penalty == 0
    kept, same_state, _ = pure(adapted, shared, state, 3 * x, training=False)
    product_3 = 3 * x @ adapted[0].numpy() + adapted[1].numpy()
    expected = (product_3 - product.mean(0)) / np.sqrt(product.var(0) + 1e-3) + [10, 20]
    np.testing.assert_allclose(kept, expected, rtol=1e-12)
    np.testing.assert_array_equal(same_state, state)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_several_outputs():
    inputs = keras.Input((3,), dtype="float64")
    pure = PureModel(keras.Model(inputs, {"a": dense(1)(inputs), "b": dense(2)(inputs)}))
    outputs, _, penalty = pure(tensors(pure.adapted), [], [], np.ones((4, 3)))
    assert {name: value.shape for name, value in outputs.items()} == {"a": (4, 1), "b": (4, 2)}
    assert (penalty.numpy(), penalty.dtype) == (0, tf.float64)


class Dropped(keras.Model):
    """Does not pass `training` on to its dropout layer, which must work nevertheless."""

    def __init__(self):
        super().__init__(dtype="float64")
        self.dropout = keras.layers.Dropout(0.5, seed=3, dtype="float64")
        self.dense = dense(50, use_bias=False, kernel_initializer="identity")

    def call(self, x):
        return self.dense(self.dropout(x))


def dropout_masks(pure, iteration, task_axis, num_tasks=3, num_updates=2):
    """Returns the masks [tasks, updates, units] that the inner loop uses in one iteration."""

    def of_task(seeds):
        found, state = [], pure.with_seeds(tensors(pure.state), seeds)
        for _ in range(num_updates):
            outputs, state, _ = pure(tensors(pure.adapted), [], state, tf.ones([1, 50], tf.float64))
            found.append(outputs[0])
        return tf.stack(found)

    signature = tf.TensorSpec([num_updates, 50], tf.float64)
    return axis.map_tasks(of_task, pure.seeds_per_task(iteration, num_tasks), signature, task_axis)


@pytest.fixture
def dropped():
    model = Dropped()
    model(np.ones((1, 50)))
    return PureModel(model)


@pytest.mark.parametrize("jit", [False, True])
def test_dropout_differs_between_tasks_updates_and_iterations(dropped, jit):
    masks = tf.function(lambda iteration: dropout_masks(dropped, iteration, axis.MAP), jit_compile=jit)
    found = np.array([masks(tf.constant(i)).numpy() for i in (0, 1)])
    assert set(np.unique(found)) == {0.0, 2.0}
    assert len({mask.tobytes() for mask in found.reshape(-1, 50)}) == found.size / 50 == 12
    assert 0.35 < found.mean() / 2 < 0.65
    np.testing.assert_array_equal(masks(tf.constant(1)), found[1])
    params, state = tensors(dropped.adapted), tensors(dropped.state)
    np.testing.assert_array_equal(dropped(params, [], state, np.ones((1, 50)), training=False)[0], np.ones((1, 50)))


def test_random_layers_are_mapped_as_they_cannot_be_vectorised(dropped):
    assert axis.resolve("auto", "auto", dropped.model)[0] == axis.MAP
    with pytest.raises(ValueError, match="No pfor vectorization defined for StatelessRandomGetKeyCounter"):
        tf.function(lambda: dropout_masks(dropped, 0, axis.VECTORIZE))()


def test_statistics_are_the_floating_point_state():
    model = functional(
        keras.layers.Dropout(0.5, dtype="float64"), layers.BatchNorm(dtype="float64", name="norm"), dense(1)
    )
    pure = PureModel(model)
    assert len(pure.state) == 3
    assert names(pure.statistics(pure.state)) == ["norm/mean", "norm/variance"]
    pure.assign_statistics([tf.constant([1.0, 2, 3], tf.float64), tf.constant([4.0, 5, 6], tf.float64)])
    norm = model.get_layer("norm")
    np.testing.assert_array_equal([norm.mean.numpy(), norm.variance.numpy()], [[1, 2, 3], [4, 5, 6]])


class Activity(keras.layers.Layer):
    def call(self, x):
        self.add_loss(0.5 * tf.reduce_sum(x**2))
        return x


def test_losses_that_layers_add_count_in_the_meta_loss_only():
    rng = np.random.default_rng(0)
    tasks = Tasks(*[rng.normal(size=(1, 5, n)) for n in (3, 2, 3, 2)])
    stack = dense(2, kernel_regularizer=keras.regularizers.L2(0.25)), Activity(dtype="float64")
    with_penalty, without = functional(*stack), functional(dense(2))
    for variable, other in zip(with_penalty.variables, without.variables, strict=True):
        variable.assign(rng.normal(size=variable.shape))
        other.assign(variable)
    settings = {"step_size": 0.1, "num_updates": 2, "task_axis": "map", "jit": False}
    mamls = [MAML(m, losses.mse, **settings) for m in (with_penalty, without)]
    fast = [maml.adapt(tasks.support_x[0], tasks.support_y[0]).params for maml in mamls]
    for penalised, plain in zip(*fast, strict=True):
        np.testing.assert_array_equal(penalised, plain)

    def support_loss(params, state):
        return losses.mse(tasks.support_x[0] @ params[0] + params[1], tasks.support_y[0]), state

    start = tensors(without.trainable_variables)
    with tf.GradientTape() as tape:
        tape.watch(start)
        (kernel, bias), _ = adapt(support_loss, start, (), step_size=0.1, num_updates=2)
        activity = 0.5 * tf.reduce_sum((tasks.query_x[0] @ kernel + bias) ** 2)
        penalty = 0.25 * tf.reduce_sum(kernel**2) + activity
    expected = tape.gradient(penalty, start)
    penalised, plain = (maml.meta_gradients(tasks) for maml in mamls)
    for total, of_loss, of_penalty in zip(penalised, plain, expected, strict=True):
        np.testing.assert_allclose(total - of_loss, of_penalty, rtol=1e-10)
    weighted = MAML(with_penalty, losses.mse, query_weights=lambda done: [0.0, 1.0], **settings)
    for total, of_weighted in zip(penalised, weighted.meta_gradients(tasks), strict=True):
        np.testing.assert_allclose(of_weighted, total, rtol=1e-10)
    pretraining, plain = (first_gradients(maml, tasks)[0] for maml in mamls)
    assert np.linalg.norm(pretraining - plain) > 0.1


def first_gradients(maml, tasks):
    """Returns the gradients of a first pretraining step, computed from Adam's moments."""
    maml.pretrain_step(tasks)
    return [v.numpy() / 0.1 for v in maml.pretrain_optimizer.variables if v.path.endswith("momentum")]


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="is not built: call it once on an example"):
        PureModel(keras.Sequential([keras.layers.Dense(1)], name="unbuilt"))


def test_nothing_to_adapt_is_refused():
    model = functional(dense(1))
    with pytest.raises(ValueError, match="no trainable variable"):
        PureModel(model, adapts=lambda v: False)
    model.trainable = False
    with pytest.raises(ValueError, match="no trainable variable"):
        PureModel(model)


@pytest.mark.parametrize("kind", ["BatchNormalization", "LayerNormalization", "GroupNormalization"])
def test_a_stock_normalisation_layer_is_warned_of_with_a_remedy(kind):
    settings = {"groups": 1} if kind == "GroupNormalization" else {}
    stock = getattr(keras.layers, kind)(name="the_culprit", dtype="float64", **settings)
    model = functional(dense(3), functional(stock), dense(1))  # nested
    with pytest.warns(UserWarning, match=rf"'the_culprit' \({kind}\).*maml_tf.layers.BatchNorm.*first_order=True"):
        MAML(model, losses.mse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MAML(model, losses.mse, first_order=True)
        MAML(functional(dense(3), layers.BatchNorm(dtype="float64"), dense(1)), losses.mse)


def test_a_layer_without_a_second_derivative_is_refused_rather_than_failing_in_training():
    model = functional(dense(3), keras.layers.Activation("softsign", name="the_culprit", dtype="float64"), dense(1))
    with pytest.raises(ValueError, match=r"'the_culprit' \(Activation\) has no second derivative in TensorFlow"):
        MAML(model, losses.mse)
    MAML(model, losses.mse, first_order=True)


def test_mixed_precision_is_computed_rightly():
    """Weights are float32, the model computes in float16, and the loss is float32."""
    rng = np.random.default_rng(0)
    tasks = Tasks(*(rng.normal(size=(4, 5, n)) for n in (3, 1, 3, 1)))
    found = []
    for policy, way in (("mixed_float16", {}), ("float32", {"task_axis": "map", "jit": False})):  # less to compile
        keras.utils.set_random_seed(0)
        stack = [keras.layers.Dense(4, "tanh", dtype=policy), keras.layers.Dense(1, dtype=policy)]
        maml = MAML(keras.Sequential([keras.Input((3,)), *stack]), losses.mse, step_size=0.1, optimizer="sgd", **way)
        found.append([float(maml.train_step(tasks)[name]) for name in ("pre_loss", "post_loss")])
        assert maml.predict(tasks.query_x[0], maml.adapt(tasks.support_x[0], tasks.support_y[0])).dtype == tf.float32
    np.testing.assert_allclose(*found, rtol=0.01)


def test_models_of_legacy_keras_and_what_is_no_model_are_refused():
    legacy = type("Sequential", (), {"__module__": "tf_keras.src.engine.sequential"})()
    for model, kind in ((legacy, "model of legacy Keras"), (lambda x: x, "function")):
        with pytest.raises(ValueError, match=f"must be a keras.Model of Keras 3, but is a {kind}"):
            MAML(model, losses.mse)


class HeadFirst(keras.Model):
    """Creates its layers in another order than it calls them."""

    def __init__(self):
        super().__init__()
        self.head, self.trunk = keras.layers.Dense(2, name="classifier"), keras.layers.Dense(4)

    def call(self, inputs):
        return self.head(self.trunk(inputs))


def test_the_head_of_a_subclassed_model_is_a_predicate():
    own = HeadFirst()
    own(np.zeros((1, 3), np.float32))
    for part in "head", "body":
        with pytest.raises(UserError, match=f"adapts='{part}' needs a functional or Sequential model"):
            MAML(own, "mse", adapts=part)
    of_head = MAML(own, "mse", adapts=lambda v: "classifier/" in v.path).pure.adapted
    assert [v.shape for v in of_head] == [(4, 2), (2,)]
