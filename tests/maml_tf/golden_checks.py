"""Checks that a MAML reproduces a golden, in any dtype and however it runs; used by the tests on CPU and on GPU."""

import keras
import numpy as np
import tensorflow as tf

from tests.maml_tf.goldens import assert_close, by_role

AFTER_ADAM = {"float64": 1e-6, "float32": 1e-4}


class OriginalAdam(keras.optimizers.Adam):
    """Adam whose decay rates and their powers are rounded to float32 even in a float64 model, as in TensorFlow 1."""

    def __init__(self, clip=None):
        rates = {name: float(np.float32(rate)) for name, rate in (("beta_1", 0.9), ("beta_2", 0.999))}
        super().__init__(1e-3, epsilon=float(np.float32(1e-8)), clipvalue=clip, **rates)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
        correction = tf.sqrt(1 - self._power(self.beta_2)) / (1 - self._power(self.beta_1))
        rate = tf.cast(learning_rate, tf.float64) * correction
        variable.assign_sub(rate * m / (tf.sqrt(v) + self.epsilon))

    def _power(self, beta):
        factors = tf.fill([self.iterations + 1], tf.constant(beta, tf.float32))
        return tf.cast(tf.math.cumprod(factors)[-1], tf.float64)


def check_meta_training(golden, maml, dtype):
    """Checks the metrics, meta-gradient and weights of one meta-step, and the weights after three."""
    tasks, num_updates = golden.tasks(dtype), golden.flags["num_updates"]
    metrics = maml.train_step(tasks)
    _check_metrics(golden, metrics, "pre", golden["out/total_loss1"], golden.arrays.get("out/total_accuracy1"), dtype)
    accuracies = golden.arrays.get("out/total_accuracies2")
    accuracy = None if accuracies is None else accuracies[num_updates - 1]
    _check_metrics(golden, metrics, "post", golden["out/total_losses2"][num_updates - 1], accuracy, dtype)
    prefix = "metagrad_clipped" if golden.clip else "metagrad"
    check_gradients(golden, maml.model, _first_gradients(maml.optimizer, maml.meta_variables), prefix, dtype)
    check_weights(golden, maml.model, "after_meta1", dtype)
    # Float32 is too coarse for three steps of o1 or m1, and so are rates not rounded to float32: see OriginalAdam.
    if golden.name not in ("o1", "m1") or isinstance(maml.optimizer, OriginalAdam):
        maml.train_step(tasks)
        maml.train_step(tasks)
        check_weights(golden, maml.model, "after_meta3", dtype)


def check_pretraining(golden, maml, dtype):
    """Checks the metrics, gradient and weights of one pretraining step, and the weights after three if recorded."""
    tasks = golden.tasks(dtype)
    metrics = maml.pretrain_step(tasks)
    _check_metrics(golden, metrics, "pre", golden["out/total_loss1"], golden.arrays.get("out/total_accuracy1"), dtype)
    check_gradients(golden, maml.model, _first_gradients(maml.pretrain_optimizer, maml.weights), "pregrad", dtype)
    check_weights(golden, maml.model, "after_pre1", dtype)
    if golden.of_roles("after_pre3"):
        maml.pretrain_step(tasks)
        maml.pretrain_step(tasks)
        check_weights(golden, maml.model, "after_pre3", dtype)


def check_gradients(golden, model, gradients, prefix, dtype):
    """Compares gradients, a dict by the id of their variable, with the golden's.

    Clipping makes a gradient smaller, but not its error; so the error is relative to the gradient before clipping.
    """
    variables = by_role(model)
    for role, expected in golden.of_roles(prefix).items():
        actual = gradients[id(variables[role])]
        clipped = golden[f"{prefix.removesuffix('_clipped')}/{role}"] - expected
        assert_close(actual + clipped, expected + clipped, golden.tolerance(dtype), f"{prefix}/{role}")
    if dtype == "float64":
        assert all(np.abs(gradients[id(variables[role])]).max() < 1e-10 for role in golden.dead_roles)


def check_weights(golden, model, prefix, dtype):
    """Compares a model's weights with the golden's."""
    variables, expected = by_role(model), golden.of_roles(prefix)
    assert expected.keys() == variables.keys() - set(golden.dead_roles)
    for role, array in expected.items():
        actual = variables[role].numpy()
        if (golden.name, prefix, dtype) == ("m1", "after_meta1", "float32"):
            actual = np.where(_sign_unknown(golden, role, dtype), array, actual)
        assert_close(actual, array, AFTER_ADAM[dtype], f"{prefix}/{role}")


def _sign_unknown(golden, role, dtype):
    """Returns where a gradient is too small for its sign to be certain; Adam's first step depends on the sign alone."""
    gradient = golden[f"metagrad/{role}"]
    unknown = np.abs(gradient) < golden.tolerance(dtype) * np.sqrt(np.mean(np.square(gradient)))
    assert unknown.mean() < 3e-3  # only a few components
    return unknown


def check_every_update(golden, maml, prefix, tolerance, num_updates=None):
    """Checks logits (if recorded), losses and accuracies before adaptation and after every update.

    It starts from the present weights and uses `adapt` and `predict`; each update starts where the last one ended.
    """
    tasks = golden.tasks(maml.model.input.dtype)
    supports, queries = _every_update(maml, tasks, num_updates or len(golden[f"{prefix}/total_losses2"]))
    if f"{prefix}/outputas" in golden.arrays:
        assert_close(supports, golden[f"{prefix}/outputas"], tolerance, f"{prefix}/outputas")
    for update, logits in enumerate(queries):
        if f"{prefix}/outputbs" in golden.arrays:
            assert_close(logits, golden[f"{prefix}/outputbs"][update], tolerance, f"{prefix}/outputbs {update}")
        loss = _over_tasks(maml.loss, logits, tasks.query_y)
        assert_close(loss, golden[f"{prefix}/total_losses2"][update], tolerance, f"{prefix}/total_losses2 {update}")
        if maml.accuracy:
            accuracy = _over_tasks(maml.accuracy, logits, tasks.query_y)
            assert abs(accuracy - golden[f"{prefix}/total_accuracies2"][update]) < 1e-6
    loss = _over_tasks(maml.loss, supports, tasks.support_y)
    assert_close(loss, golden[f"{prefix}/total_loss1"], tolerance, f"{prefix}/total_loss1")


def _every_update(maml, tasks, num_updates):
    """Returns support logits [tasks, ...] before adaptation, query logits [updates, tasks, ...] after each update."""
    initial = [v.numpy() for v in maml.pure.adapted]
    supports, queries = [], []
    for support_x, support_y, query_x, _ in zip(*tasks, strict=True):
        supports.append(maml.predict(support_x, transductive=True).numpy())
        queries.append([])
        for _ in range(num_updates):
            adapted = maml.adapt(support_x, support_y, num_updates=1)
            queries[-1].append(maml.predict(query_x, adapted, transductive=True).numpy())
            for variable, value in zip(maml.pure.adapted, adapted.params, strict=True):
                variable.assign(value)
        for variable, value in zip(maml.pure.adapted, initial, strict=True):
            variable.assign(value)
    return np.array(supports), np.swapaxes(queries, 0, 1)


def _over_tasks(function, logits, labels):
    return np.mean([float(function(tf.constant(o), tf.constant(y))) for o, y in zip(logits, labels, strict=True)])


def _first_gradients(optimizer, variables):
    """Returns the gradients of Adam's first step, computed from its first moments."""
    moments = [v for v in optimizer.variables if v.path.endswith("momentum")]
    return {id(v): m.numpy() / (1 - optimizer.beta_1) for v, m in zip(variables, moments, strict=True)}


def _check_metrics(golden, metrics, when, loss, accuracy, dtype):
    assert_close(metrics[f"{when}_loss"], loss, golden.tolerance(dtype), f"{when}_loss")
    if accuracy is None:
        assert f"{when}_accuracy" not in metrics
    else:
        assert abs(float(metrics[f"{when}_accuracy"]) - accuracy) < 1e-6
