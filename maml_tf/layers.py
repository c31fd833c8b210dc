"""Keras layers whose second derivatives are exact, and which can be vectorised over tasks.

`tf.nn.moments` computes the variance around `stop_gradient(mean)`. Its first derivative is right and its second is
wrong, and with it that of `keras.layers.BatchNormalization`, `LayerNormalization` and `GroupNormalization`, so that
second-order MAML on those follows a wrong meta-gradient without any sign of it. Here the variance is the mean of the
squared deviations, differentiated as it stands.
"""

import contextlib
import contextvars

import keras
import tensorflow as tf

from maml_tf.patches import crop, patches_3x3

_VECTORIZABLE = contextvars.ContextVar("vectorizable", default=False)


@contextlib.contextmanager
def vectorizable():
    """Within it, layers are traced into operations that `tf.vectorized_map` and XLA handle.

    `tf.vectorized_map` cannot convert a convolution whose filters differ per task, and XLA on CPU computes the second
    derivative of max-pooling wrong.
    """
    token = _VECTORIZABLE.set(True)
    try:
        yield
    finally:
        _VECTORIZABLE.reset(token)


def normalise(x, epsilon):
    """Normalises each column of x to mean 0 and variance 1, with derivatives that are exact to every order.

    Written out by hand rather than left to automatic differentiation, which takes twice as long. With n(x) the result,
    r = 1 / sqrt(variance + epsilon) and <.> the mean over rows, the backward pass is the projection

        P u = r (u - <u> - n <u n>)

    which is symmetric in u and depends on x through n and r: dn = P dx, dr = -r^2 <n dx>.

    Args:
        x: [rows, columns].
        epsilon: added to the variance.

    Returns:
        (normalised x, mean [columns], variance [columns]).
    """
    mean = tf.reduce_mean(x, 0)
    centred = x - mean
    variance = tf.reduce_mean(tf.square(centred), 0)
    r = tf.math.rsqrt(variance + tf.constant(epsilon, x.dtype))

    @tf.custom_gradient
    def normalised(x):
        n = centred * r

        @tf.custom_gradient
        def project(u, x):
            mean_u, mean_un = tf.reduce_mean(u, 0), tf.reduce_mean(u * n, 0)
            projected = (u - mean_u - n * mean_un) * r

            def project_gradient(v):
                projected_v, mean_vn = project(v, x), tf.reduce_mean(v * n, 0)
                overlap = (tf.reduce_mean(u * v, 0) - mean_u * tf.reduce_mean(v, 0) - mean_un * mean_vn) * r
                towards_x = -r * (n * overlap + mean_un * projected_v + mean_vn * projected)
                return projected_v, towards_x

            return projected, project_gradient

        return n, lambda u: project(u, x)

    return normalised(x), mean, variance


def moments(x, axes):
    """Mean and variance over `axes`, with exact derivatives of every order.

    Returns:
        (mean, variance, x - mean).
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centred = x - mean
    return tf.squeeze(mean, axes), tf.reduce_mean(tf.square(centred), axes), centred


@keras.saving.register_keras_serializable(package="maml_tf")
class BatchNorm(keras.layers.Layer):
    """Batch normalisation as in the original: always by the batch's own statistics, offset beta, no scale.

    beta is meta-learned but not adapted in the inner loop (`meta_only`). The statistics of the last batch are kept as
    state: with `training=False` they normalise instead of the batch's own, which makes evaluation inductive.

    Call arguments:
        x: [batch, ..., channels].
        pooled: optional, max-pooled x to normalise in place of x by the statistics of x. Normalisation without a scale
            is monotone, so pooling first gives the same values for a fraction of the work.
        training: whether to use and keep the statistics of x.
    """

    meta_only = True

    def __init__(self, epsilon=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, x_shape, pooled_shape=None):
        channels = (x_shape[-1],)
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")
        self.mean = self.add_weight(name="mean", shape=channels, initializer="zeros", trainable=False)
        self.variance = self.add_weight(name="variance", shape=channels, initializer="ones", trainable=False)

    def call(self, x, pooled=None, training=True):
        rows = tf.reshape(x, [-1, x.shape[-1]])
        if not training:
            centred = (x if pooled is None else pooled) - self.mean
            return centred * self._scale(tf.convert_to_tensor(self.variance)) + self.beta
        if pooled is None:
            normalised, mean, variance = normalise(rows, self.epsilon)
            normalised = tf.reshape(normalised, tf.shape(x))
        else:
            mean, variance, _ = moments(rows, axes=0)
            normalised = (pooled - mean) * self._scale(variance)
        self.mean.assign(mean)
        self.variance.assign(variance)
        return tf.nn.bias_add(normalised, self.beta)

    def _scale(self, variance):
        return tf.math.rsqrt(variance + tf.constant(self.epsilon, variance.dtype))

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="maml_tf")
class LayerNorm(keras.layers.Layer):
    """Layer normalisation as in the original: over all axes but the batch, with a gamma and beta per channel.

    gamma and beta are meta-learned but not adapted in the inner loop (`meta_only`).

    Call arguments:
        x: [batch, ..., channels].
    """

    meta_only = True

    def __init__(self, epsilon=1e-12, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, x):
        _, variance, centred = moments(x, axes=list(range(1, len(x.shape))))
        scale = tf.math.rsqrt(variance + tf.constant(self.epsilon, variance.dtype))
        scale = tf.reshape(scale, [-1] + [1] * (len(x.shape) - 1))
        return centred * scale * self.gamma + self.beta

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="maml_tf")
class Conv2D(keras.layers.Layer):
    """A 3x3 convolution with SAME padding.

    Call arguments:
        x: [batch, height, width, channels].
    """

    def __init__(self, filters, strides=1, bias_cancels=False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.bias_cancels = bias_cancels

    def build(self, input_shape):
        shape = (3, 3, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x):
        if _VECTORIZABLE.get():
            rows = patches_3x3(x, self.strides)
            y = tf.einsum("bhwk,kf->bhwf", rows, tf.reshape(self.kernel, [-1, self.filters]))
        else:
            y = tf.nn.conv2d(x, self.kernel, self.strides, "SAME")
        return y if self.bias_cancels else y + self.bias

    def get_config(self):
        config = {"filters": self.filters, "strides": self.strides, "bias_cancels": self.bias_cancels}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="maml_tf")
class MaxPool2x2(keras.layers.Layer):
    """2x2 max-pooling with VALID padding."""

    def call(self, x):
        if not _VECTORIZABLE.get():
            return tf.nn.max_pool2d(x, 2, 2, "VALID")
        height, width, channels = (x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
        even = crop(x, (0, 0), (2 * height, 2 * width))
        windows = tf.reshape(even, [-1, height, 2, width, 2, channels])
        return tf.reduce_max(windows, axis=[2, 4])
