"""A loss that reads the model's weights or calls the model counts; draws from a seed that no layer holds do not."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import MAML, MAMLModel

ALPHA = 0.1
TASKS = Tasks(*(np.random.default_rng(0).normal(size=(2, 5, n)) for n in (3, 1, 3, 1)))


def network():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(1, use_bias=False, dtype="float64")
    return keras.Sequential([keras.Input((3,), dtype="float64"), dense])


def decayed(model):
    """Weight decay, as one writes it in TensorFlow."""

    def loss(outputs, targets):
        error = tf.reduce_mean(tf.square(outputs - targets))
        return error + 0.3 * tf.add_n([tf.reduce_sum(tf.square(v)) for v in model.trainable_variables])

    return loss


def decayed_partly(model):
    """The same with Keras's loss as an argument."""
    weights = model.trainable_variables

    def loss(error, outputs, targets):
        return tf.reduce_mean(error(targets, outputs)) + 0.3 * tf.add_n([tf.reduce_sum(tf.square(v)) for v in weights])

    return functools.partial(loss, keras.losses.mean_squared_error)


class Decayed(keras.losses.Loss):
    """The same as a loss of Keras, with an attribute that a partial has too."""

    def __init__(self, model):
        super().__init__(dtype="float64")
        self.args, self.model = object(), model

    def call(self, targets, outputs):
        decay = tf.add_n([tf.reduce_sum(tf.square(v)) for v in self.model.trainable_variables])
        return tf.reduce_mean(tf.square(outputs - targets), -1) + 0.3 * decay


def consistent(model):
    """A loss that calls the model again."""
    return lambda outputs, targets: tf.reduce_mean(tf.square(outputs - targets + model(2 * tf.ones_like(TASKS[0][0]))))


def by_hand(penalised, w, x, y, query_x, query_y):
    """The meta-gradient and the adapted weights of one task, by plain tapes."""
    with tf.GradientTape() as outer:
        outer.watch(w)
        with tf.GradientTape() as inner:
            inner.watch(w)
            loss = penalised(w, x, y)
        adapted = w - ALPHA * inner.gradient(loss, w)
        objective = penalised(adapted, query_x, query_y)
    return outer.gradient(objective, w), adapted


LOSSES = {
    "decayed": (decayed, lambda w, x, y: tf.reduce_mean((x @ w - y) ** 2) + 0.3 * tf.reduce_sum(w**2)),
    "decayed, a partial": (decayed_partly, lambda w, x, y: LOSSES["decayed"][1](w, x, y)),
    "decayed, an object": (Decayed, lambda w, x, y: LOSSES["decayed"][1](w, x, y)),
    "consistent": (consistent, lambda w, x, y: tf.reduce_mean((x @ w - y + 2 * tf.ones_like(x) @ w) ** 2)),
}


@pytest.mark.parametrize("task_axis", ["map", "vectorize"])
@pytest.mark.parametrize("name", LOSSES)
def test_what_a_loss_reads_of_the_weights_counts_in_both_loops(name, task_axis):
    """The term was reported, but no derivative saw it."""
    make, plain = LOSSES[name]
    model = network()
    w = tf.convert_to_tensor(model.trainable_variables[0])
    maml = MAML(model, make(model), step_size=ALPHA, task_axis=task_axis, jit=False)
    expected = [by_hand(plain, w, *map(tf.constant, task)) for task in zip(*TASKS, strict=True)]
    found = maml.meta_gradients(TASKS)[0]
    np.testing.assert_allclose(found, np.mean([gradient for gradient, _ in expected], 0), rtol=1e-10)
    adapted = maml.adapt(TASKS.support_x[0], TASKS.support_y[0])
    np.testing.assert_allclose(adapted.params[0], expected[0][1], rtol=1e-10)
    losses = maml.evaluate(TASKS, 1)["losses"][:, 1]
    tasks = zip(expected, TASKS.query_x, TASKS.query_y, strict=True)
    np.testing.assert_allclose(losses, [plain(adapted, x, y) for (_, adapted), x, y in tasks], rtol=1e-10)


class Noisy(keras.layers.Layer):
    """Adds noise; from a seed of its own only if it holds one."""

    def __init__(self, seed=None):
        super().__init__()
        self.seed = seed

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), dtype=x.dtype, seed=self.seed)


@pytest.mark.parametrize("task_axis", ["map", "vectorize"])
def test_noise_without_a_seed_that_a_layer_holds_is_refused(task_axis):
    """Its draws were the same at every step, update and task."""

    def train(seed):
        model = keras.Sequential([keras.Input((3,)), Noisy(seed), keras.layers.Dense(1)])
        return MAML(model, "mse", task_axis=task_axis, jit=False, optimizer=keras.optimizers.SGD(0.0))

    with pytest.raises(UserError, match="draws random numbers from a seed that it does not hold"):
        train(None).train_step(TASKS)
    if task_axis == "vectorize":  # TensorFlow cannot vectorise these draws
        return
    maml = train(keras.random.SeedGenerator(0))
    losses = [float(maml.train_step(TASKS)["pre_loss"]) for _ in range(3)]
    assert len(set(losses)) == 3


def test_a_loss_may_draw():
    """Its draws go on from step to step, as without a scope around it."""

    def loss(outputs, targets):
        return tf.reduce_mean(tf.square(outputs - targets)) + keras.random.uniform([], dtype=outputs.dtype)

    maml = MAML(network(), loss, task_axis="map", jit=False, optimizer=keras.optimizers.SGD(0.0))
    assert len({float(maml.train_step(TASKS)["pre_loss"]) for _ in range(3)}) == 3


def test_keras_own_loop_too():
    network_ = network()
    w = tf.convert_to_tensor(network_.trainable_variables[0])
    model = MAMLModel(network_, inner_step_size=ALPHA, num_updates=1)
    model.compile(keras.optimizers.SGD(1.0), loss=decayed(network_))
    model.train_on_batch((TASKS.support_x, TASKS.support_y), (TASKS.query_x, TASKS.query_y))
    expected = [by_hand(LOSSES["decayed"][1], w, *map(tf.constant, task))[0] for task in zip(*TASKS, strict=True)]
    np.testing.assert_allclose(w - network_.trainable_variables[0], np.mean(expected, 0), rtol=1e-10)


def test_penalties_of_another_model_count_too():
    x = keras.Input((3,), dtype="float64")
    teacher = keras.Model(x, keras.layers.Dense(1, dtype="float64", kernel_regularizer="l2")(x))
    maml = MAML(network(), lambda o, t: tf.reduce_mean(tf.square(o - t)) + tf.add_n(teacher.losses), jit=False)
    plain = MAML(network(), "mse", jit=False)
    found, expected = (learner.evaluate(TASKS, 1)["losses"] for learner in (maml, plain))
    np.testing.assert_allclose(found - expected, float(teacher.losses[0]), rtol=1e-6)
