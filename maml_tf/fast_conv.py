"""Convolution and pooling in forms that are faster on CPU, or that XLA and vectorisation over tasks can compile.

Patches: a convolution as a matrix product, which can be differentiated twice. Pooling: 2x2 max-pooling whose
derivatives take about a third of the time of TensorFlow's own, or are oneDNN's where it is on. Chunks: a large batch is
computed a few images at a time, so that its largest maps stay in the processor's caches.
"""

from collections.abc import Callable, Sequence

import numpy as np

from maml_tf.backend import tf
from maml_tf.normalisation import channel_mean

# Bytes of all maps of a chunk of images. 75 images of miniImagenet have 125 MB: as one chunk they take twice the time.
_MOST_BYTES = 10e6
# Bytes of all patches of a convolution. The second layer of 5 images of Omniglot has 0.56 MB. With 2.3 MB, that of 20
# images, products with patches take longer than TensorFlow's own gradient.
_MOST_PATCHES = 6e5


def in_chunks(part: Callable, x: tf.Tensor, bytes_per_image: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Applies `part` to a few images of x at a time; returns what one call with all of them would return.

    Args:
        part: function of images [some, ...] that returns (y [some, ...], mean [n], covariance [n, n]), with moments
            over equally many samples of each image.
        x: [batch, ...].
        bytes_per_image: memory that `part` needs for an image.

    Returns:
        (y [batch, ...], mean [n], covariance [n, n]).
    """
    images = _images_at_a_time(x.shape[0], bytes_per_image)
    if images == x.shape[0]:
        return part(x)
    done = []
    for some in tf.split(x, x.shape[0] // images):  # tf.map_fn has no second derivatives here
        with tf.control_dependencies([y for y, *_ in done[-1:]]):  # one after the other
            some = tf.identity(some)
        done.append(part(some))
    ys, means, covariances = zip(*done, strict=True)
    return tf.concat(ys, 0), *_combined(tf.stack(means), tf.stack(covariances))


def _combined(means, covariances):
    """Combines the means and covariances of equally large samples into those of all samples together."""
    mean = tf.reduce_mean(means, 0)
    between = means - mean
    covariance_between = tf.matmul(between, between, transpose_a=True) / means.shape[0]
    return mean, tf.reduce_mean(covariances, 0) + covariance_between


def _images_at_a_time(batch, bytes_per_image):
    """The largest number of images that fits and divides the batch; None where the batch size is not known yet."""
    if batch is None:
        return None
    return max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * bytes_per_image <= _MOST_BYTES))


def patches_3x3(x: tf.Tensor, strides: int) -> tf.Tensor:
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
    # Pads more behind than SAME does, so that the rows divide into `strides` phases; no patch reaches the surplus.
    behind = [out * strides + 2 - size - b for out, size, b in zip(outs, sizes, before, strict=True)]
    x = embed(x, before, [b + size + a for b, size, a in zip(before, sizes, behind, strict=True)])
    phases = tf.reshape(x, [-1, x.shape[1] // strides, strides, x.shape[2] // strides, strides, x.shape[3]])
    phases = [tf.unstack(by_row, axis=3) for by_row in tf.unstack(phases, axis=2)]
    pieces = [
        crop(phases[i % strides][j % strides], (i // strides, j // strides), outs) for i in range(3) for j in range(3)
    ]
    return tf.reshape(tf.stack(pieces, axis=-2), [-1, rows, columns, 9 * x.shape[3]])


def patches_by_convolution(x: tf.Tensor, strides: int) -> tf.Tensor:
    """Computes `patches_3x3` by a convolution with unit filters: fastest on CPU for few channels, not vectorisable."""
    size = 9 * x.shape[3]
    return tf.nn.conv2d(x, tf.reshape(tf.eye(size, dtype=x.dtype), [3, 3, x.shape[3], size]), strides, "SAME")


def patch_moments(patches: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean [size] and covariance [size, size] of patches [batch, height, width, size] over all positions."""
    mean = channel_mean(patches)
    rows = tf.reshape(patches - mean, [-1, patches.shape[-1]])
    return mean, tf.matmul(rows, rows, transpose_a=True) / tf.cast(tf.shape(rows)[0], rows.dtype)


def moments_of_product(
    matrix: tf.Tensor, patch_mean: tf.Tensor, patch_covariance: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance [filters] of patches times a matrix [size, filters], from the moments of the patches."""
    mean = tf.einsum("k,kf->f", patch_mean, matrix)
    return mean, tf.einsum("kf,kl,lf->f", matrix, patch_covariance, matrix)


def folded(
    patches: tf.Tensor, matrix: tf.Tensor, patch_mean: tf.Tensor, patch_covariance: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Two factors, centred patches and a matrix; their product is a convolution's output after batch normalisation.

    The mean of y = p M is the mean of p, times M. So

        (y - <y>) / sqrt(variance(y) + epsilon) = (p - <p>) (M / sqrt(variance(y) + epsilon))

    and only the result is as large as y, in derivatives too. The centred patches are data: they are the same after
    every update. A meta-step of Omniglot takes 0.88 of the time, with 20 ways 0.82.

    Args:
        patches: [batch, height, width, size].
        matrix: [size, filters].
        patch_mean, patch_covariance: results of `patch_moments`.
        epsilon: number added to the variance.
    """
    _, variance = moments_of_product(matrix, patch_mean, patch_covariance)
    return patches - patch_mean, matrix * tf.math.rsqrt(variance + tf.constant(epsilon, matrix.dtype))


def convolution(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d(x, kernel, 2, "SAME") of a 3x3 kernel; its gradient by the kernel is a product with patches.

    For few small images this is faster than TensorFlow's own gradient: a meta-step of Omniglot, 5-way 1-shot, takes 0.9
    of the time.

    The sum of g * conv(x, k) is linear in each of x, k and g. Its derivatives by g, x and k are the convolution itself,
    `by_input` and `by_kernel`, and the derivatives of each of these are the other two again.

    Args:
        x: [batch, height, width, channels].
        kernel: [3, 3, channels, filters].

    Returns:
        [batch, ceil(height / 2), ceil(width / 2), filters].
    """
    shape = x.shape if x.shape.is_fully_defined() else tf.shape(x)

    @tf.custom_gradient
    def convolved(x, k):
        return tf.nn.conv2d(x, k, 2, "SAME"), lambda g: (by_input(k, g), by_kernel(x, g))

    @tf.custom_gradient
    def by_input(k, g):
        dx = tf.nn.conv2d_transpose(g, k, shape, 2, "SAME")
        return tf.ensure_shape(dx, x.shape), lambda u: (by_kernel(u, g), convolved(u, k))

    @tf.custom_gradient
    def by_kernel(x, g):
        rows = [tf.reshape(part, [-1, part.shape[-1]]) for part in (patches_by_gathering(x), g)]
        dk = tf.reshape(tf.matmul(*rows, transpose_a=True), kernel.shape)
        return dk, lambda v: (by_input(v, g), convolved(x, v))

    return convolved(x, tf.convert_to_tensor(kernel))  # tf.custom_gradient needs a tensor


def few_patches(x: tf.Tensor) -> bool:
    """Whether `convolution` is faster than TensorFlow's for x: its patches stay in the caches of a CPU."""
    batch, height, width, channels = x.shape
    if batch is None or tf.config.list_physical_devices("GPU"):
        return False
    return batch * -(-height // 2) * -(-width // 2) * 9 * channels * x.dtype.size <= _MOST_PATCHES


def patches_by_gathering(x: tf.Tensor) -> tf.Tensor:
    """Computes `patches_3x3(x, 2)` where no gradient is needed: fastest on CPU for many channels."""
    padded, places = [], []
    for size in x.shape[1:3]:
        out = -(-size // 2)
        surplus = max(2 * out + 1 - size, 0)
        padded.append((surplus // 2, surplus - surplus // 2))
        places.append(2 * np.arange(out)[:, None] + np.arange(3))
    columns = x.shape[2] + sum(padded[1])
    pixels = places[0][:, None, :, None] * columns + places[1][None, :, None, :]
    x = tf.pad(x, [[0, 0], *padded, [0, 0]])
    flat = tf.reshape(x, [-1, x.shape[1] * columns, x.shape[3]])
    return tf.reshape(tf.gather(flat, pixels.ravel(), axis=1), [-1, *pixels.shape[:2], 9 * x.shape[3]])


# XLA's own gradients of slicing and padding can be neither vectorised nor differentiated twice, so each is declared to
# be the gradient of the other.


def crop(x: tf.Tensor, starts: Sequence[int], sizes: Sequence[int]) -> tf.Tensor:
    """The window of x [batch, height, width, channels] that begins at `starts` and has `sizes`."""

    @tf.custom_gradient
    def run(x):
        window = tf.slice(x, [0, *starts, 0], [-1, *sizes, -1])
        return window, lambda gradient: embed(gradient, starts, x.shape[1:3])

    return run(x)


def embed(x: tf.Tensor, starts: Sequence[int], sizes: Sequence[int]) -> tf.Tensor:
    """Zeros of `sizes` in which x [batch, height, width, channels] is placed at `starts`."""

    @tf.custom_gradient
    def run(x):
        around = [[start, size - start - inner] for start, size, inner in zip(starts, sizes, x.shape[1:3], strict=True)]
        return tf.pad(x, [[0, 0], *around, [0, 0]]), lambda gradient: crop(gradient, starts, x.shape[1:3])

    return run(x)


def max_pool_2x2(x: tf.Tensor) -> tf.Tensor:
    """2x2 max-pooling with VALID padding; the gradient goes to the first of equal maxima, as TensorFlow's does.

    Args:
        x: [batch, height, width, channels].

    Returns:
        [batch, height // 2, width // 2, channels].
    """
    sizes = 2 * (x.shape[1] // 2), 2 * (x.shape[2] // 2)
    return _pool_even(x if sizes == tuple(x.shape[1:3]) else crop(x, (0, 0), sizes))


@tf.custom_gradient
def _pool_even(x):
    maximum = tf.nn.max_pool2d(x, 2, 2, "VALID")
    spread_out, mask = (_by_onednns_gradient if _onednn_pools(x.dtype) else _by_mask)(x, maximum)

    @tf.custom_gradient
    def spread(u):
        return spread_out(u), gather

    @tf.custom_gradient
    def gather(v):
        # A window has at most one nonzero number, so 4 times its average is its sum exactly, and the fastest way to it.
        return 4 * tf.nn.avg_pool2d(mask() * v, 2, 2, "VALID"), spread

    return maximum, spread


def _by_mask(x, maximum):
    """Finds the places of the maxima once, as a mask, for the gradient and for the gradients of the gradient.

    Returns:
        (function of u [batch, height / 2, width / 2, channels] -> u at the maxima and 0 elsewhere, in the shape of x;
        function without arguments -> 1 at the maxima and 0 elsewhere).
    """
    mask = tf.stop_gradient(_first_maxima(x, maximum))
    return lambda u: mask * _twice(_twice(u, 1), 2), lambda: mask


def _twice(x, axis):
    """tf.repeat(x, 2, axis=axis) of images of known size, by tracing 6 operations instead of 31."""
    copies = tf.tile(tf.expand_dims(x, axis + 1), [1] * (axis + 1) + [2] + [1] * (3 - axis))
    sizes = [2 * size if i == axis else size for i, size in enumerate(x.shape)]
    return tf.reshape(copies, [-1, *sizes[1:]])


def _by_onednns_gradient(x, maximum):
    """Does the same as `_by_mask` by MaxPoolGrad, whose result for ones is the mask of the second function.

    Only the gradient of the gradient needs that mask. With oneDNN this takes a quarter to a half of the time of
    `_by_mask`, and without oneDNN twice as long.
    """

    def spread_out(u):
        windows = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"}
        return tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=maximum, grad=u, **windows)

    return spread_out, lambda: spread_out(tf.ones_like(maximum))


def _onednn_pools(dtype):
    """Whether oneDNN computes max-pooling and its gradient in this process; oneDNN has no float64."""
    return dtype == tf.float32 and _is_onednn_on() and not tf.config.list_physical_devices("GPU")


def _is_onednn_on():
    try:
        from tensorflow.python.util import _pywrap_util_port  # private: another version may not have it
    except ImportError:
        return False
    return getattr(_pywrap_util_port, "IsMklEnabled", lambda: False)()


def _first_maxima(x, maximum):
    """1 where x is the first element of its window that equals the maximum, else 0; in the shape of x."""
    height, width, channels = maximum.shape[1:]
    windows = tf.reshape(x, [-1, height, 2, width, 2, channels])
    rows, taken = [], None
    for row in tf.unstack(windows, axis=2):
        masks = []
        for corner in tf.unstack(row, axis=3):
            equal = tf.equal(corner, maximum)
            masks.append(equal if taken is None else tf.logical_and(equal, tf.logical_not(taken)))
            taken = equal if taken is None else tf.logical_or(taken, equal)
        rows.append(tf.stack(masks, axis=3))
    return tf.cast(tf.reshape(tf.stack(rows, axis=2), tf.shape(x)), x.dtype)
