"""The optimizers of the meta-update and of pretraining, and what changes in the course of meta-training."""

from collections.abc import Callable
from typing import Any

from data_generators.errors import UserError
from maml_tf.backend import keras, tf


def decayed(learning_rate: float, decay: str, iterations: int) -> Any:
    """A learning rate of the meta-update, as Keras's optimizers take it.

    Args:
        learning_rate: at the beginning.
        decay: "none"; "cosine", to a hundredth (MAML++, Antoniou et al. 2019); or "linear", to zero (Reptile's code).
        iterations: meta-updates until then.

    Example:
        >>> [round(float(decayed(1.0, "linear", 4)(i)), 2) for i in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    schedules = keras.optimizers.schedules
    if decay == "cosine":
        return schedules.CosineDecay(learning_rate, iterations, alpha=0.01)
    return schedules.PolynomialDecay(learning_rate, iterations, 0.0) if decay == "linear" else learning_rate


def adam(learning_rate: Any = 1e-3, clip: float | None = None) -> keras.optimizers.Adam:
    """Adam with the epsilon of TensorFlow 1, 1e-8, which the original used.

    In step t, of the gradient g, with the learning rate beta:

        m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2
        theta <- theta - beta * sqrt(1 - 0.999^t) / (1 - 0.9^t) * m / (sqrt(v) + epsilon)

    Args:
        learning_rate: beta, a number or a schedule of Keras.
        clip: bound of every component of g; default, none.

    Example:
        >>> theta = keras.Variable([1.0, 1.0])
        >>> adam(0.5).apply([keras.ops.array([3.0, -0.1])], [theta])  # its first step goes by the sign alone
        >>> theta.numpy().round(4)
        array([0.5, 1.5], dtype=float32)
    """
    # One name for all: TensorFlow keeps 40 kB for every name that a variable has ever had, until the process ends.
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8, clipvalue=clip, name="adam")


def annealed_query_weights(num_updates: int, iterations: int) -> Callable:
    """The weights of MAML++'s multi-step loss (Antoniou et al. 2019): equal at first, at last nearly all on the last.

    In the course of the iterations each weight but the last falls from 1 / num_updates to 0.03 / num_updates. In their
    code a step is an epoch of 500 meta-updates; here it is every meta-update.

    Args:
        num_updates: inner updates.
        iterations: meta-updates until the weights stay.

    Returns:
        Function of the meta-updates done -> [num_updates] float64, as `MAML` takes it.

    Example:
        >>> weights = annealed_query_weights(2, 100)
        >>> [weights(tf.constant(done)).numpy().round(3).tolist() for done in (0, 50, 100)]
        [[0.5, 0.5], [0.25, 0.75], [0.015, 0.985]]
    """

    def weights(done):
        left = 1 - tf.cast(done, tf.float64) / iterations
        others = tf.maximum(left, 0.03) / num_updates
        return tf.concat([tf.fill([num_updates - 1], others), [1 - (num_updates - 1) * others]], axis=0)

    return weights


def optimizer_of(given: keras.optimizers.Optimizer | str | None) -> keras.optimizers.Optimizer:
    """An optimizer, given as it is or by its name; the default, and "adam", is `adam()`, whose epsilon is 1e-8.

    Every other name is Keras's with Keras's settings. `keras.optimizers.Adam()` is Keras's own Adam, of epsilon 1e-7.

    Raises:
        UserError: Keras has none of that name; or it divides gradients by a scale of the loss, which has none here.
    """
    if not given or (isinstance(given, str) and given.lower() == "adam"):
        return adam()
    try:
        found = keras.optimizers.get(given)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"Keras has no optimizer {given!r}: give another name, or a keras.optimizers.Optimizer"
        ) from error
    if isinstance(found, keras.optimizers.LossScaleOptimizer) or getattr(found, "loss_scale_factor", None):
        raise UserError("MAML scales no loss: give the optimizer without LossScaleOptimizer and loss_scale_factor")
    return found


def steps_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """Calls of `apply` so far; `iterations` counts those that change the weights (`gradient_accumulation_steps`)."""
    return getattr(optimizer, "_iterations", optimizer.iterations)
