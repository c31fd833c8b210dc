"""Normalisation of pixels by fixed numbers for each channel, as the first layer of a network."""

from collections.abc import Sequence
from typing import Any

from maml_tf.backend import keras, tf


@keras.saving.register_keras_serializable(package="maml_tf")
class PixelNorm(keras.layers.Layer):
    """(x - mean) / deviation for each channel of x [batch, ..., channels].

    mean and deviation are weights that are not trained. They are part of checkpoints and exports, which therefore take
    pixels in [0, 1] as without this layer. They start at 0 and 1; `set_pixels` sets them.

    Example:
        >>> norm = PixelNorm()
        >>> norm(tf.ones([1, 2, 2, 3])).shape
        TensorShape([1, 2, 2, 3])
    """

    def build(self, x_shape: tuple) -> None:
        channels = (x_shape[-1],)
        self.mean = self.add_weight(name="mean", shape=channels, initializer="zeros", trainable=False)
        self.deviation = self.add_weight(name="deviation", shape=channels, initializer="ones", trainable=False)

    def call(self, x: Any) -> tf.Tensor:
        return (x - tf.convert_to_tensor(self.mean)) / tf.convert_to_tensor(self.deviation)

    def compute_output_shape(self, x_shape: tuple) -> tuple:
        return x_shape


def set_pixels(model: keras.Model, mean: Sequence[float], deviation: Sequence[float]) -> None:
    """Gives the PixelNorm of a model the mean and standard deviation [channels] of pixels in [0, 1].

    A channel whose deviation is 0 is not divided.
    """
    for layer in model.layers:
        if isinstance(layer, PixelNorm):
            layer.mean.assign(mean)
            layer.deviation.assign([value or 1.0 for value in deviation])
