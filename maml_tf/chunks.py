"""Work on a large batch a few images at a time, so that their largest maps never leave the processor's caches."""

import tensorflow as tf

from maml_tf.patches import patch_moments, patches_by_convolution
from maml_tf.pooling import max_pool_2x2

# Of patches and maps together. 75 images of miniImagenet have 125 MB: at once they take twice the time.
_MOST_BYTES = 10e6


def convolve_and_pool(x, matrix, strides):
    """A 3x3 convolution with SAME padding, 2x2 max-pooling of it, and the moments of the patches that it multiplies.

    Args:
        x: [batch, height, width, channels].
        matrix: [9 * channels, filters], the flattened HWI kernel.
        strides: 1 or 2, of the convolution.

    Returns:
        (maps [batch, half the height, half the width, filters], mean [9 * channels], covariance
        [9 * channels, 9 * channels]).
    """
    size, filters = matrix.shape
    rows, columns = (-(-length // strides) for length in x.shape[1:3])

    def part(x):
        patches = patches_by_convolution(x, strides)
        return max_pool_2x2(tf.einsum("bhwk,kf->bhwf", patches, matrix)), *patch_moments(patches)

    images = _images_at_a_time(x.shape[0], rows * columns * (size + filters) * x.dtype.size)
    if images == x.shape[0]:
        return part(x)
    done = []
    for some in tf.split(x, x.shape[0] // images):  # not tf.map_fn, through which there are no second derivatives here
        with tf.control_dependencies([maps for maps, *_ in done[-1:]]):  # one after the other
            some = tf.identity(some)
        done.append(part(some))
    maps, means, covariances = zip(*done, strict=True)
    means = tf.stack(means)
    mean = tf.reduce_mean(means, 0)
    between = means - mean
    covariance = tf.add_n(covariances) / len(done) + tf.matmul(between, between, transpose_a=True) / len(done)
    return tf.concat(maps, 0), mean, covariance


def _images_at_a_time(batch, bytes_per_image):
    """The largest divisor of the batch whose images fit; the batch itself, where its size is not known yet."""
    if batch is None:
        return None
    return max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * bytes_per_image <= _MOST_BYTES))
