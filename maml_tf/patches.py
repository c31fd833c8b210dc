"""Convolution patches by operations that can be vectorised over tasks, compiled by XLA, and differentiated twice."""

import tensorflow as tf

from maml_tf.normalisation import channel_mean


def patches_3x3(x, strides):
    """The 3x3 patches that a convolution with SAME padding multiplies with its filters.

    Args:
        x: [batch, height, width, channels].
        strides: 1 or 2.

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), 9 * channels], in the order of a flattened HWI kernel.
    """
    sizes = x.shape[1:3]
    rows, columns = outs = [-(-size // strides) for size in sizes]
    before = [max((out - 1) * strides + 3 - size, 0) // 2 for out, size in zip(outs, sizes, strict=True)]
    # More than SAME pads behind, so that the rows divide into `strides` phases; patches never reach the surplus.
    behind = [out * strides + 2 - size - b for out, size, b in zip(outs, sizes, before, strict=True)]
    x = embed(x, before, [b + size + a for b, size, a in zip(before, sizes, behind, strict=True)])
    phases = tf.reshape(x, [-1, x.shape[1] // strides, strides, x.shape[2] // strides, strides, x.shape[3]])
    phases = [tf.unstack(by_row, axis=3) for by_row in tf.unstack(phases, axis=2)]
    pieces = [
        crop(phases[i % strides][j % strides], (i // strides, j // strides), outs) for i in range(3) for j in range(3)
    ]
    return tf.reshape(tf.stack(pieces, axis=-2), [-1, rows, columns, 9 * x.shape[3]])


def patches_by_convolution(x, strides):
    """As `patches_3x3`, by a convolution with unit filters: fastest on CPU for few channels, but not vectorisable."""
    size = 9 * x.shape[3]
    return tf.nn.conv2d(x, tf.reshape(tf.eye(size, dtype=x.dtype), [3, 3, x.shape[3], size]), strides, "SAME")


def patch_moments(patches):
    """Mean [size] and covariance [size, size] of patches [batch, height, width, size] over all positions."""
    mean = channel_mean(patches)
    rows = tf.reshape(patches - mean, [-1, patches.shape[-1]])
    return mean, tf.matmul(rows, rows, transpose_a=True) / tf.cast(tf.shape(rows)[0], rows.dtype)


# XLA's own gradients of slicing and padding can be neither vectorised nor differentiated twice, so each is declared to
# be the gradient of the other.


def crop(x, starts, sizes):
    """The window of x [batch, height, width, channels] that begins at `starts` and has `sizes`."""

    @tf.custom_gradient
    def run(x):
        window = tf.slice(x, [0, *starts, 0], [-1, *sizes, -1])
        return window, lambda gradient: embed(gradient, starts, x.shape[1:3])

    return run(x)


def embed(x, starts, sizes):
    """Zeros of `sizes` around x [batch, height, width, channels], which begins at `starts`."""

    @tf.custom_gradient
    def run(x):
        around = [[start, size - start - inner] for start, size, inner in zip(starts, sizes, x.shape[1:3], strict=True)]
        return tf.pad(x, [[0, 0], *around, [0, 0]]), lambda gradient: crop(gradient, starts, x.shape[1:3])

    return run(x)
