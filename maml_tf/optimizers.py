"""The optimizers of the meta-update and of pretraining."""

import keras

from data_generators.errors import UserError


def adam(learning_rate: float = 1e-3, clip: float | None = None) -> keras.optimizers.Adam:
    """Adam with the epsilon of TensorFlow 1, 1e-8, which the original used.

    In step t, of the gradient g, with the learning rate beta:

        m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2
        theta <- theta - beta * sqrt(1 - 0.999^t) / (1 - 0.9^t) * m / (sqrt(v) + epsilon)

    Args:
        learning_rate: beta.
        clip: bound of every component of g; default, none.

    Example:
        >>> theta = keras.Variable([1.0, 1.0])
        >>> adam(0.5).apply([keras.ops.array([3.0, -0.1])], [theta])  # its first step goes by the sign alone
        >>> theta.numpy().round(4)
        array([0.5, 1.5], dtype=float32)
    """
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8, clipvalue=clip)


def optimizer_of(given: keras.optimizers.Optimizer | str | None) -> keras.optimizers.Optimizer:
    """An optimizer, given as it is or by its name; the default is `adam()`.

    Raises:
        UserError: Keras has none of that name.
    """
    try:
        return keras.optimizers.get(given) if given else adam()
    except (ValueError, TypeError) as error:
        raise UserError(
            f"Keras has no optimizer {given!r}: give another name, or a keras.optimizers.Optimizer"
        ) from error
