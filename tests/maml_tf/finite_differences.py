"""Checks TensorFlow's derivatives of a model by finite differences."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from maml_tf.second_derivatives import stand_in_loss

# Step sizes and the relative error expected with each, by the dtype of the model. Some operations compute in float32
# even in a float64 model; for these only the larger step is useful.
STEPS = {"float64": {1e-5: 1e-4, 1e-3: 1e-3}, "float32": {3e-3: 1e-2}}


class Verdict(NamedTuple):
    """Whether the first and second derivatives are right; None where TensorFlow raises LookupError instead."""

    first: bool | None
    second: bool | None

    @property
    def faulty(self):
        """Whether second-order MAML raises an error, or is wrong where first-order MAML is right."""
        return self.second is None or (self.first and not self.second)


def objective(model, adapts=lambda variable: True):
    """Returns the stand-in for a loss in the form that `second_derivatives.find` expects."""
    variables = sorted(model.trainable_variables, key=lambda v: not adapts(v))

    def loss(adapted, shared, state, *inputs):
        trainable = zip(variables, adapted + shared, strict=True)
        rest = zip(model.non_trainable_variables, state, strict=True)
        with keras.StatelessScope(state_mapping=[*trainable, *rest]) as scope:
            outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=True)
        state = [tf.convert_to_tensor(scope.get_current_value(v)) for v in model.non_trainable_variables]
        return stand_in_loss(outputs), state

    return loss


def verdict(model, passes=0):
    """Compares the derivatives along a random direction, at random weights, with finite differences.

    Args:
        model: keras.Model.
        passes: number of forward passes that update the model's state before the comparison.
    """
    rng = np.random.default_rng(0)
    dtype = model.trainable_variables[0].dtype

    def draw(shape):
        return tf.constant(rng.normal(size=shape), dtype)

    inputs = [draw((4, *i.shape[1:])) for i in model.inputs]
    weights = [v.value + 0.4 * draw(v.shape) / max(1, np.prod(v.shape[:-1])) ** 0.5 for v in model.trainable_variables]
    way = [draw(v.shape) for v in weights]
    state = [tf.convert_to_tensor(v) for v in model.non_trainable_variables]
    first, second = _derivatives(objective(model), inputs, way)
    try:
        for _ in range(passes):
            state = first(weights, state)[3]
        gradient, slope = first(weights, state)[1:3]
    except LookupError:
        return Verdict(None, None)
    try:
        curvature = _flat(second(weights, state))
    except LookupError:
        curvature = None
    rights = []
    for step, tolerance in STEPS[dtype].items():
        ahead, back = (first([v + s * w for v, w in zip(weights, way, strict=True)], state) for s in (step, -step))
        scale = max(abs(slope), 1e-2 * np.linalg.norm(_flat(gradient)) * np.linalg.norm(_flat(way)))
        right = [abs((ahead[0] - back[0]) / (2 * step) - slope) <= tolerance * scale]
        if curvature is not None:
            expected = (_flat(ahead[1]) - _flat(back[1])) / (2 * step)
            right.append(np.linalg.norm(curvature - expected) <= tolerance * np.linalg.norm(expected))
        rights.append(right)
    return Verdict(*(bool(any(order)) for order in zip(*rights, strict=True)), *[None] * (curvature is None))


def _derivatives(loss, inputs, way):
    """Returns two functions of (weights, state).

    The first returns (loss, gradient, slope along `way`, new state), the second the gradient of that slope.
    """

    @tf.function(autograph=False)
    def first(weights, state):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value, state = loss(weights, [], state, *inputs)
        gradient = [tf.convert_to_tensor(g) for g in tape.gradient(value, weights, unconnected_gradients="zero")]
        return value, gradient, tf.add_n([tf.reduce_sum(g * w) for g, w in zip(gradient, way, strict=True)]), state

    @tf.function(autograph=False)
    def second(weights, state):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            slope = first(weights, state)[2]
        return [tf.convert_to_tensor(g) for g in tape.gradient(slope, weights, unconnected_gradients="zero")]

    return first, second


def _flat(tensors):
    return np.concatenate([np.ravel(t) for t in tensors])
