"""Means and variances whose derivatives are exact to every order, and fast.

They are written out by hand rather than left to automatic differentiation, which takes twice as long: it broadcasts the
gradient of a mean over a whole array, negates it, and adds it up.
"""

import tensorflow as tf


def normalise(x, epsilon):
    """Normalises each column of x to mean 0 and variance 1, with derivatives that are exact to every order.

    With n(x) the result, r = 1 / sqrt(variance + epsilon) and <.> the mean over rows, the backward pass is the
    projection

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


@tf.custom_gradient
def channel_moments(x):
    """Mean and variance of each channel, with derivatives that are exact to every order.

    Args:
        x: [batch, height, width, channels].

    Returns:
        (mean [channels], variance [channels]).
    """
    mean = channel_mean(x)
    variance = channel_mean(tf.math.squared_difference(x, mean))
    return (mean, variance), lambda of_mean, of_variance: _moments_gradient(x, of_mean, of_variance)


@tf.custom_gradient
def _moments_gradient(x, of_mean, of_variance):
    """(of_mean + 2 of_variance (x - mean)) / rows, which is affine in x: one multiplication and one addition."""
    rows = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
    mean = channel_mean(x)
    slope = 2 * of_variance / rows

    def gradient(v):
        mean_v = channel_mean(v)
        towards_variance = 2 * (channel_mean(v * x) - mean * mean_v)
        return slope * v - slope * mean_v, mean_v, towards_variance

    return x * slope + (of_mean / rows - slope * mean), gradient


def channel_mean(x):
    """Mean of x [batch, height, width, channels] over all axes but the last.

    One axis after the other, since float32 loses digits in a plain sum over the 500,000 positions of a large batch.
    """
    return tf.reduce_mean(tf.reduce_mean(tf.reduce_mean(x, axis=2), axis=1), axis=0)


def moments(x, axes):
    """Mean and variance over `axes`, with exact derivatives of every order.

    Returns:
        (mean, variance, x - mean).
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centred = x - mean
    return tf.squeeze(mean, axes), tf.reduce_mean(tf.square(centred), axes), centred
