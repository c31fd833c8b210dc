"""Normalisation as Keras layers with exact second derivatives. Users import them from `maml_tf.layers`.

`tf.nn.moments` computes the variance around `stop_gradient(mean)`: its first derivative is right, but its second is
wrong. So are the second derivatives of `keras.layers.BatchNormalization`, `LayerNormalization` and
`GroupNormalization`, and second-order MAML with these layers silently follows a wrong meta-gradient. Here the variance
is the mean of the squared deviations, differentiated without a `stop_gradient`.

Under mixed precision these layers compute in the dtype of their weights, as Keras's do: float16 overflows above 65,504.
"""

from typing import Any

from maml_tf.backend import keras, tf
from maml_tf.normalisation import moments, normalise

EPSILON = 1e-3  # added to the variance in batch normalisation


@keras.saving.register_keras_serializable(package="maml_tf")
class BatchNorm(keras.layers.Layer):
    """Batch normalisation as in the original: by the batch's own statistics, with an offset beta and no scale.

    beta is meta-learned but not adapted in the inner loop (`meta_only`). The statistics of the last batch are kept as
    state; with `training=False` they are used instead of the batch's own, which makes evaluation inductive.

    Args:
        epsilon: number added to the variance.
        normalised: whether x is already normalised in training, as by a `Conv2D` with `normalise`; mean and variance
            must then be given, and are only kept.
        inductive: whether a call without `training` counts as training=False and normalises by the kept statistics. The
            layers of an adapted model are inductive, since its output for one example must not depend on the others.

    Call arguments:
        x: [batch, ..., channels].
        mean, variance: optional statistics [channels] to normalise by, in place of those of x. Normalisation without a
            scale is monotone, so max-pooling first, and normalising the small map by the statistics of the large one,
            gives the same values for a fraction of the work.
        training: whether to normalise by the statistics of x (or the given ones) and to keep them; default, True unless
            the layer is `inductive`.

    Example:
        >>> norm = BatchNorm()
        >>> norm(tf.constant([[0.0], [2.0], [4.0]])).numpy().round(2).ravel()  # by the mean 2 and variance 8 / 3
        array([-1.22,  0.  ,  1.22], dtype=float32)
        >>> norm(tf.constant([[2.0]]), training=False).numpy()  # by those that were kept
        array([[0.]], dtype=float32)
    """

    meta_only = True

    def __init__(self, epsilon: float = EPSILON, normalised: bool = False, inductive: bool = False, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon
        self.normalised = normalised
        self.inductive = inductive

    def build(self, x_shape: tuple, mean_shape: tuple | None = None, variance_shape: tuple | None = None) -> None:
        channels, fixed = (x_shape[-1],), {"trainable": False, "autocast": False}
        offsets = self._offset_shape(*channels)
        self.beta = self.add_weight(name="beta", shape=offsets, initializer="zeros", autocast=False)
        self.mean = self.add_weight(name="mean", shape=channels, initializer="zeros", **fixed)
        self.variance = self.add_weight(name="variance", shape=channels, initializer="ones", **fixed)

    def call(self, x: Any, mean: Any = None, variance: Any = None, training: bool | None = None) -> tf.Tensor:
        wide = self.variable_dtype  # under mixed precision, too
        mean, variance = (None if value is None else tf.cast(value, wide) for value in (mean, variance))
        return tf.cast(self._normalised(tf.cast(x, wide), mean, variance, training), self.compute_dtype)

    def _normalised(self, x, mean, variance, training):
        if training is None:
            training = not self.inductive
        if not training:
            mean, variance = tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.variance)
            return (x - mean) * self._scale(variance) + self._offset()
        if self.normalised:
            normalised = x
        elif mean is None:
            normalised, mean, variance = normalise(tf.reshape(x, [-1, x.shape[-1]]), self.epsilon)
            normalised = tf.reshape(normalised, tf.shape(x))
        else:
            normalised = (x - mean) * self._scale(variance)
        self.mean.assign(mean)
        self.variance.assign(variance)
        return tf.nn.bias_add(normalised, self._offset())

    def compute_output_shape(self, x_shape: tuple, mean_shape: Any = None, variance_shape: Any = None) -> tuple:
        return x_shape

    def _offset_shape(self, channels):
        return (channels,)

    def _offset(self):
        return tf.convert_to_tensor(self.beta)

    def _scale(self, variance):
        return tf.math.rsqrt(variance + tf.constant(self.epsilon, variance.dtype))

    def get_config(self) -> dict:
        settings = "epsilon", "normalised", "inductive"
        return {**super().get_config(), **{name: getattr(self, name) for name in settings}}


@keras.saving.register_keras_serializable(package="maml_tf")
class PerUpdateBatchNorm(BatchNorm):
    """`BatchNorm` with an offset beta for each update of the inner loop (MAML++, Antoniou et al. 2019).

    As in their code, queries after an update use the offset of that update, queries before any update use that of the
    first, and queries after more updates than in training use that of the last. The statistics per update of their code
    are not needed, since no statistics are carried from one update to the next here.

    Args:
        num_updates: number of inner updates in training.

    Example:
        >>> PerUpdateBatchNorm(5)(tf.zeros([2, 8])).shape
        TensorShape([2, 8])
    """

    def __init__(self, num_updates: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_updates = num_updates

    def build(self, x_shape: tuple, mean_shape: tuple | None = None, variance_shape: tuple | None = None) -> None:
        super().build(x_shape, mean_shape, variance_shape)
        index = {"shape": (), "dtype": "int64", "initializer": "zeros", "trainable": False}
        self.update_index = self.add_weight(name="update_index", **index)  # set by the inner loop

    def _offset_shape(self, channels):
        return (self.num_updates, channels)

    def _offset(self):
        latest = tf.constant(self.num_updates - 1, tf.int64)
        return tf.gather(self.beta, tf.minimum(tf.convert_to_tensor(self.update_index), latest))

    def get_config(self) -> dict:
        return {**super().get_config(), "num_updates": self.num_updates}


@keras.saving.register_keras_serializable(package="maml_tf")
class LayerNorm(keras.layers.Layer):
    """Layer normalisation as in the original: over all axes but the batch, with a gamma and beta per channel.

    gamma and beta are meta-learned but not adapted in the inner loop (`meta_only`).

    Call arguments:
        x: [batch, ..., channels].

    Example:
        >>> LayerNorm()(tf.constant([[0.0, 2.0], [5.0, 5.5]])).numpy().round(2)
        array([[-1.,  1.],
               [-1.,  1.]], dtype=float32)
    """

    meta_only = True

    def __init__(self, epsilon: float = 1e-12, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros", autocast=False)

    def call(self, x: Any) -> tf.Tensor:
        x = tf.cast(x, self.variable_dtype)  # under mixed precision, too: in float16 epsilon is 0
        _, variance, centred = moments(x, axes=list(range(1, len(x.shape))))
        scale = tf.math.rsqrt(variance + tf.constant(self.epsilon, variance.dtype))
        scale = tf.reshape(scale, [-1] + [1] * (len(x.shape) - 1))
        return tf.cast(centred * scale * self.gamma + self.beta, self.compute_dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon}
