"""Keras layers with exact second derivatives, which can be vectorised over tasks; normalisation is in `norm_layers`."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from maml_tf.backend import keras, tf
from maml_tf.fast_conv import (
    convolution,
    crop,
    few_patches,
    folded,
    in_chunks,
    max_pool_2x2,
    moments_of_product,
    patch_moments,
    patches_3x3,
    patches_by_convolution,
)
from maml_tf.norm_layers import EPSILON, BatchNorm, LayerNorm, PerUpdateBatchNorm
from maml_tf.normalisation import channel_moments
from maml_tf.pixels import PixelNorm

__all__ = [
    "CHECKED",
    "EPSILON",
    "BatchNorm",
    "Conv2D",
    "LayerNorm",
    "MaxPool2x2",
    "PerUpdateBatchNorm",
    "vectorizable",
]

_VECTORIZABLE = contextvars.ContextVar("vectorizable", default=False)


@contextlib.contextmanager
def vectorizable() -> Iterator[None]:
    """Within it, layers are traced into operations that `tf.vectorized_map` and XLA can handle.

    `tf.vectorized_map` cannot convert a convolution whose filters differ per task, and XLA on CPU gets the second
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
class Conv2D(keras.layers.Layer):
    """A 3x3 convolution with SAME padding.

    Args:
        filters: number of output channels.
        strides: 1 or 2.
        bias_cancels: whether the next layer subtracts the bias again, so that it need not be added.
        moments: source of the mean and variance of each output channel, which are then returned too: "output" computes
            them from the output. "patches" computes them from the moments of the patches, since the output is a linear
            function of the patches. Both give the same; "patches" is far less work where the input is data, because the
            moments of data do not change from one update to the next. Default, none.
        pool: whether to max-pool the output 2x2 after its `moments`; only with moments="patches". Doing both at once
            takes half the time on CPU for large batches of large images.
        normalise: epsilon of batch normalisation; only with moments="patches" and without `pool`. In training the
            output is then normalised, for a `BatchNorm` with `normalised`. It costs no extra work, see
            `fast_conv.folded`.

    Call arguments:
        x: [batch, height, width, channels].
        patch_mean, patch_covariance: optional results of `patch_moments` for x, for moments="patches".
        training: whether to normalise, where `normalise` is given; default, True.

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
        normalise: float | None = None,
        **kwargs: Any,
    ):
        # Moments are computed in the dtype of the weights, also under mixed precision: float16 overflows above 65,504.
        super().__init__(autocast=moments != "patches", **kwargs)
        if moments not in (None, "output", "patches"):
            raise ValueError(f"moments must be None, 'output' or 'patches', not {moments!r}")
        if pool and moments != "patches":
            raise ValueError(f"pool needs moments='patches', not {moments!r}")
        if normalise is not None and (moments != "patches" or pool):
            raise ValueError("normalise needs moments='patches', and no pool")
        self.filters = filters
        self.strides = strides
        self.bias_cancels = bias_cancels
        self.moments = moments
        self.pool = pool
        self.normalise = normalise

    def build(self, x_shape: tuple, patch_mean_shape: Any = None, patch_covariance_shape: Any = None) -> None:
        shape = (3, 3, x_shape[-1], self.filters)
        cast = {"autocast": self.autocast}
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform", **cast)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros", **cast)

    def call(
        self, x: Any, patch_mean: Any = None, patch_covariance: Any = None, training: bool | None = None
    ) -> tf.Tensor | tuple:
        if self.moments == "patches":
            known = () if patch_mean is None else (patch_mean, patch_covariance)
            x = tf.cast(x, self.variable_dtype)
            return self._with_moments_of_patches(x, known, self.normalise if training in (None, True) else None)
        y = self._convolved(x)
        y = y if self.bias_cancels else y + self.bias
        return y if self.moments is None else (y, *channel_moments(tf.cast(y, self.variable_dtype)))

    def patch_moments(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean [size] and covariance [size, size] of the patches of x, which do not depend on the weights."""

        def part(x):
            mean, covariance = patch_moments(self._patches(x))
            return covariance[:0], mean, covariance  # an empty output

        return self._in_chunks(part, x)[1:]

    def _with_moments_of_patches(self, x, known, epsilon):
        matrix = self._matrix()

        def part(x):
            if known and epsilon is None:
                y, moments = self._convolved(x), known
            else:
                patches = self._patches(x)
                moments = known or patch_moments(patches)
                factors = (patches, matrix) if epsilon is None else folded(patches, matrix, *moments, epsilon)
                y = self._multiplied(*factors)
            return _max_pool(y) if self.pool else y, *moments

        y, *moments = self._in_chunks(part, x) if self.pool else part(x)
        mean, variance = moments_of_product(matrix, *(known or moments))
        if self.bias_cancels:
            return y, mean, variance
        return y if epsilon is not None else y + self.bias, mean + self.bias, variance

    def _in_chunks(self, part, x):
        return part(x) if _VECTORIZABLE.get() else in_chunks(part, x, self._bytes_per_image(x))

    def _convolved(self, x):
        if _VECTORIZABLE.get():
            return self._multiplied(self._patches(x), self._matrix())
        if self.strides == 2 and few_patches(x):
            return convolution(x, self.kernel)
        return tf.nn.conv2d(x, self.kernel, self.strides, "SAME")

    def _patches(self, x):
        return (patches_3x3 if _VECTORIZABLE.get() else patches_by_convolution)(x, self.strides)

    def _multiplied(self, patches, matrix):
        if _VECTORIZABLE.get():
            return tf.einsum("bhwk,kf->bhwf", patches, matrix)
        # The same as one matrix product, which is faster on CPU: a step of miniImagenet takes 0.94 of the time.
        y = tf.matmul(tf.reshape(patches, [-1, patches.shape[-1]]), matrix)
        return tf.reshape(y, [-1, *patches.shape[1:3], self.filters])

    def _matrix(self):
        return tf.reshape(self.kernel, [-1, self.filters])

    def _bytes_per_image(self, x):
        """The bytes of one image's patches and of its map before pooling."""
        _, height, width, channels = x.shape
        positions = -(-height // self.strides) * -(-width // self.strides)
        return positions * (9 * channels + self.filters) * x.dtype.size

    def get_config(self) -> dict:
        settings = "filters", "strides", "bias_cancels", "moments", "pool", "normalise"
        return {**super().get_config(), **{name: getattr(self, name) for name in settings}}


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


# The layers of this project's networks, and no subclass of them, whose `call` may do anything. They vectorise over
# tasks, and tests check their second derivatives by finite differences.
CHECKED = {
    *(keras.Sequential, keras.src.models.functional.Functional, keras.layers.InputLayer, keras.layers.Dense),
    *(keras.layers.ReLU, keras.layers.Flatten, keras.layers.GlobalAveragePooling2D),
    *(BatchNorm, PerUpdateBatchNorm, LayerNorm, Conv2D, MaxPool2x2, PixelNorm),
}
