"""Work on a large batch a few images at a time, so that their largest maps never leave the processor's caches."""

import tensorflow as tf

# Of all maps of these images together. 75 images of miniImagenet have 125 MB: at once they take twice the time.
_MOST_BYTES = 10e6


def in_chunks(part, x, bytes_per_image):
    """`part` of a few images of x at a time, as if it had been called with all of them.

    Args:
        part: takes images [some, ...] and returns (y [some, ...], mean [n], covariance [n, n]), the moments being taken
            over equally many samples of each image.
        x: [batch, ...].
        bytes_per_image: what `part` keeps of an image.

    Returns:
        (y [batch, ...], mean [n], covariance [n, n]).
    """
    images = _images_at_a_time(x.shape[0], bytes_per_image)
    if images == x.shape[0]:
        return part(x)
    done = []
    for some in tf.split(x, x.shape[0] // images):  # not tf.map_fn, through which there are no second derivatives here
        with tf.control_dependencies([y for y, *_ in done[-1:]]):  # one after the other
            some = tf.identity(some)
        done.append(part(some))
    ys, means, covariances = zip(*done, strict=True)
    return tf.concat(ys, 0), *_combined(tf.stack(means), tf.stack(covariances))


def _combined(means, covariances):
    """Mean and covariance of equally large samples together, from those of each."""
    mean = tf.reduce_mean(means, 0)
    between = means - mean
    covariance_between = tf.matmul(between, between, transpose_a=True) / means.shape[0]
    return mean, tf.reduce_mean(covariances, 0) + covariance_between


def _images_at_a_time(batch, bytes_per_image):
    """The largest divisor of the batch whose images fit; the batch itself, where its size is not known yet."""
    if batch is None:
        return None
    return max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * bytes_per_image <= _MOST_BYTES))
