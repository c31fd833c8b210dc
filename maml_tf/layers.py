"""Keras layers whose second derivatives are exact, and which can be vectorised over tasks.

`tf.nn.moments` computes the variance around `stop_gradient(mean)`. Its first derivative is right and its second is
wrong, and with it that of `keras.layers.BatchNormalization`, `LayerNormalization` and `GroupNormalization`, so that
second-order MAML on those follows a wrong meta-gradient without any sign of it. Here the variance is the mean of the
squared deviations, differentiated as it stands.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from maml_tf.backend import keras, tf
from maml_tf.fast_conv import crop, in_chunks, max_pool_2x2, patch_moments, patches_3x3, patches_by_convolution
from maml_tf.normalisation import channel_moments, moments, normalise

_VECTORIZABLE = contextvars.ContextVar("vectorizable", default=False)


@contextlib.contextmanager
def vectorizable() -> Iterator[None]:
    """Within it, layers are traced into operations that `tf.vectorized_map` and XLA handle.

    `tf.vectorized_map` cannot convert a convolution whose filters differ per task, and XLA on CPU computes the second
    derivative of max-pooling wrong.

    Example:
        >>> with vectorizable():
        ...     y = Conv2D(8)(tf.zeros([2, 28, 28, 1]))  # patches and a matrix product
    """
    token = _VECTORIZABLE.set(True)
    try:
        yield
    finally:
        _VECTORIZABLE.reset(token)


@keras.saving.register_keras_serializable(package="maml_tf")
class BatchNorm(keras.layers.Layer):
    """Batch normalisation as in the original: always by the batch's own statistics, offset beta, no scale.

    beta is meta-learned but not adapted in the inner loop (`meta_only`). The statistics of the last batch are kept as
    state: with `training=False` they normalise instead of the batch's own, which makes evaluation inductive.

    Call arguments:
        x: [batch, ..., channels].
        mean, variance: optional, [channels] to normalise by in place of those of x. Normalisation without a scale is
            monotone, so max-pooling first, and normalising the small map by the statistics of the large one, gives the
            same values for a fraction of the work.
        training: whether to use and keep these statistics; default, unless the layer is `inductive`.

    Args:
        epsilon: added to the variance.
        inductive: call without `training` as with False: normalise by the statistics that were kept. So are the layers
            of an adapted model, whose answers must not depend on what else is asked.

    Example:
        >>> norm = BatchNorm()
        >>> norm(tf.constant([[0.0], [2.0], [4.0]])).numpy().round(2).ravel()  # by the mean 2 and variance 8 / 3
        array([-1.22,  0.  ,  1.22], dtype=float32)
        >>> norm(tf.constant([[2.0]]), training=False).numpy()  # by those that were kept
        array([[0.]], dtype=float32)
    """

    meta_only = True

    def __init__(self, epsilon: float = 1e-3, inductive: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.inductive = inductive

    def build(self, x_shape: tuple, mean_shape: tuple | None = None, variance_shape: tuple | None = None) -> None:
        channels = (x_shape[-1],)
        self.beta = self.add_weight(name="beta", shape=self._offset_shape(*channels), initializer="zeros")
        self.mean = self.add_weight(name="mean", shape=channels, initializer="zeros", trainable=False)
        self.variance = self.add_weight(name="variance", shape=channels, initializer="ones", trainable=False)

    def call(self, x: Any, mean: Any = None, variance: Any = None, training: bool | None = None) -> tf.Tensor:
        if training is None:
            training = not self.inductive
        if not training:
            mean, variance = tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.variance)
            return (x - mean) * self._scale(variance) + self._offset()
        if mean is None:
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
        return {**super().get_config(), "epsilon": self.epsilon, "inductive": self.inductive}


@keras.saving.register_keras_serializable(package="maml_tf")
class PerUpdateBatchNorm(BatchNorm):
    """`BatchNorm` with an offset beta for each update of the inner loop (MAML++, Antoniou et al. 2019).

    As in their code, the queries that follow an update are normalised by the offset of that update, those before any
    update by that of the first, and those after more updates than in training by that of the last. Their statistics per
    update are not needed here, where no statistics are kept from one update to the next.

    Args:
        num_updates: of the inner loop in training.

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
        self.update_index = self.add_weight(name="update_index", **index)  # which the inner loop sets

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
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, x: Any) -> tf.Tensor:
        _, variance, centred = moments(x, axes=list(range(1, len(x.shape))))
        scale = tf.math.rsqrt(variance + tf.constant(self.epsilon, variance.dtype))
        scale = tf.reshape(scale, [-1] + [1] * (len(x.shape) - 1))
        return centred * scale * self.gamma + self.beta

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="maml_tf")
class Conv2D(keras.layers.Layer):
    """A 3x3 convolution with SAME padding.

    Args:
        filters: number of output channels.
        strides: 1 or 2.
        bias_cancels: whether what follows subtracts the bias again, so that it need not be added.
        moments: also return the mean and variance of each output channel: "output" takes them from the output;
            "patches" from the moments of the patches, and the output is a linear function of them. That is the same,
            and far less work where the input is data, whose moments do not change from one update to the next.
        pool: 2x2 max-pooling of the output, of which `moments` speak; with moments of "patches" only. Done in one, they
            take half the time on CPU for large batches of large images.

    Call arguments:
        x: [batch, height, width, channels].

    Example:
        >>> Conv2D(8, strides=2)(tf.zeros([2, 28, 28, 1])).shape
        TensorShape([2, 14, 14, 8])
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        bias_cancels: bool = False,
        moments: str | None = None,
        pool: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if moments not in (None, "output", "patches"):
            raise ValueError(f"moments must be None, 'output' or 'patches', not {moments!r}")
        if pool and moments != "patches":
            raise ValueError(f"pool needs moments='patches', not {moments!r}")
        self.filters = filters
        self.strides = strides
        self.bias_cancels = bias_cancels
        self.moments = moments
        self.pool = pool

    def build(self, input_shape: tuple) -> None:
        shape = (3, 3, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Any) -> Any:
        if self.moments == "patches":
            return self._with_moments_of_patches(x)
        if _VECTORIZABLE.get():
            y = self._multiplied(patches_3x3(x, self.strides))
        else:
            y = tf.nn.conv2d(x, self.kernel, self.strides, "SAME")
        y = y if self.bias_cancels else y + self.bias
        return y if self.moments is None else (y, *channel_moments(y))

    def _multiplied(self, patches):
        return tf.einsum("bhwk,kf->bhwf", patches, self._matrix())

    def _matrix(self):
        return tf.reshape(self.kernel, [-1, self.filters])

    def _with_moments_of_patches(self, x):
        matrix = self._matrix()
        all_patches = patches_3x3 if _VECTORIZABLE.get() else patches_by_convolution

        def part(x):
            patches = all_patches(x, self.strides)
            y = self._multiplied(patches)
            return _max_pool(y) if self.pool else y, *patch_moments(patches)

        if self.pool and not _VECTORIZABLE.get():
            y, mean, covariance = in_chunks(part, x, self._bytes_per_image(x))
        else:
            y, mean, covariance = part(x)
        mean = tf.einsum("k,kf->f", mean, matrix)
        variance = tf.einsum("kf,kl,lf->f", matrix, covariance, matrix)
        return (y, mean, variance) if self.bias_cancels else (y + self.bias, mean + self.bias, variance)

    def _bytes_per_image(self, x):
        """Of the patches and the map before pooling."""
        _, height, width, channels = x.shape
        positions = -(-height // self.strides) * -(-width // self.strides)
        return positions * (9 * channels + self.filters) * x.dtype.size

    def get_config(self) -> dict:
        config = {"filters": self.filters, "strides": self.strides, "bias_cancels": self.bias_cancels}
        return {**super().get_config(), **config, "moments": self.moments, "pool": self.pool}


@keras.saving.register_keras_serializable(package="maml_tf")
class MaxPool2x2(keras.layers.Layer):
    """2x2 max-pooling with VALID padding.

    Example:
        >>> MaxPool2x2()(tf.reshape(tf.range(16.0), [1, 4, 4, 1])).numpy().ravel()
        array([ 5.,  7., 13., 15.], dtype=float32)
    """

    def call(self, x: Any) -> tf.Tensor:
        return _max_pool(x)


def _max_pool(x):
    if not _VECTORIZABLE.get():
        return max_pool_2x2(x)
    height, width, channels = (x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
    even = crop(x, (0, 0), (2 * height, 2 * width))
    windows = tf.reshape(even, [-1, height, 2, width, 2, channels])
    return tf.reduce_max(windows, axis=[2, 4])
