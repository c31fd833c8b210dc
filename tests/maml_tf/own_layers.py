"""Layers as users write them, each with the faults that second-order MAML should find in it."""

import keras
import tensorflow as tf
from keras import layers as L


class Own(L.Layer):
    """A layer that a user wrote."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)


def enlarged(x):
    return tf.reshape(tf.cast(tf.image.resize(tf.reshape(x, [-1, 2, 3, 1]), (4, 4)), x.dtype), [-1, 16])


def normalised(x):
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 0.1)


def softmax_by_hand(x):
    return x * tf.reduce_logsumexp(x, -1, keepdims=True)


@tf.custom_gradient
def squared_with_a_constant_slope(x):
    return x * x, lambda u: u * tf.stop_gradient(2 * x)


@tf.custom_gradient
def rounded_straight_through(x):
    return tf.round(x), lambda u: u


def with_own_inner_gradient(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.tanh(x) ** 3)
    return tape.gradient(y, x)


IN_FUNCTION = tf.function(normalised)
STOP = {("StopGradient", False)}
RESIZE = {("ResizeBilinearGrad", False)}
OWN = {
    "resized": (enlarged, RESIZE),
    "resized in a branch": (
        lambda x: tf.cond(tf.reduce_sum(x) < 1e9, lambda: enlarged(x), lambda: enlarged(-x)),
        RESIZE,
    ),
    "resized in a loop": (lambda x: tf.map_fn(lambda row: enlarged(row[None])[0], x), RESIZE),
    "resized in a function": (tf.function(enlarged), RESIZE),
    "moments": (normalised, STOP),
    "moments in a branch": (lambda x: tf.cond(tf.reduce_sum(x) < 1e9, lambda: normalised(x), lambda: x), STOP),
    "moments in a loop": (lambda x: tf.map_fn(lambda row: normalised(row[None])[0], x), STOP),
    "moments in a function": (tf.function(normalised), STOP),
    "moments in a function in a branch": (
        lambda x: tf.cond(tf.reduce_sum(x) < 1e9, lambda: IN_FUNCTION(x), lambda: x),
        STOP,
    ),
    "moments and a detached branch": (lambda x: normalised(x) + tf.stop_gradient(tf.tanh(x)), STOP),
    "custom gradient that stops": (squared_with_a_constant_slope, STOP),
    "custom gradient": (rounded_straight_through, set()),
    "detached branch": (lambda x: x * tf.stop_gradient(tf.tanh(x)), set()),
    "straight through": (lambda x: x + tf.stop_gradient(tf.round(x) - x), set()),
    "maximum in a softmax": (softmax_by_hand, set()),
    "maximum in a softmax in a loop": (lambda x: tf.map_fn(softmax_by_hand, x), set()),
    "maximum in a softmax in a function": (tf.function(softmax_by_hand), set()),
    "mask": (lambda x: x * tf.stop_gradient(tf.one_hot(tf.argmax(x, -1), 6, dtype=x.dtype)), set()),
    "gather": (lambda x: tf.gather(x, [0, 2, 2], axis=1), set()),
    "own inner gradient": (with_own_inner_gradient, set()),
}
SLOW = (
    "resized in a branch",
    "resized in a function",
    "moments in a branch",
    "moments in a loop",
    "maximum in a softmax in a loop",
    "maximum in a softmax in a function",
)


def own_model(name):
    inputs = keras.Input((6,))
    x = Own(OWN[name][0], name="own")(L.Dense(6, activation="tanh")(inputs))
    return keras.Model(inputs, L.Dense(2)(x))
