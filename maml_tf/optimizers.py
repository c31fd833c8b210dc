"""The optimizers of the meta-update and of pretraining, and the schedules of meta-training."""

from collections.abc import Callable, Sequence
from typing import Any

from data_generators.errors import UserError
from maml_tf.backend import keras, tf


def decayed(learning_rate: float, decay: str, iterations: int) -> Any:
    """The learning rate of the meta-update, as a number or a schedule for Keras's optimizers.

    Args:
        learning_rate: learning rate at the beginning.
        decay: "none"; "cosine", to a hundredth (MAML++, Antoniou et al. 2019); or "linear", to zero (Reptile's code).
        iterations: number of meta-updates until the end of the decay.

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

    In step t, for the gradient g and the learning rate beta:

        m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2
        theta <- theta - beta * sqrt(1 - 0.999^t) / (1 - 0.9^t) * m / (sqrt(v) + epsilon)

    Args:
        learning_rate: beta, a number or a schedule of Keras.
        clip: bound on the size of every component of g; default, none.

    Example:
        >>> theta = keras.Variable([1.0, 1.0])
        >>> adam(0.5).apply([keras.ops.array([3.0, -0.1])], [theta])  # its first step goes by the sign alone
        >>> theta.numpy().round(4)
        array([0.5, 1.5], dtype=float32)
    """
    # One name for all optimizers: TensorFlow keeps 40 kB for every variable name ever used, until the process ends.
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8, clipvalue=clip, name="adam")


def annealed_query_weights(num_updates: int, iterations: int) -> Callable:
    """The weights of MAML++'s multi-step loss (Antoniou et al. 2019): equal at first, later nearly all on the last one.

    Over the iterations each weight but the last falls from 1 / num_updates to 0.03 / num_updates. In their code the
    weights change after every epoch of 500 meta-updates; here they change after every meta-update.

    Args:
        num_updates: inner updates.
        iterations: number of meta-updates after which the weights are constant.

    Returns:
        A function (meta-updates done) -> [num_updates] float64, as `MAML` takes it for `query_weights`.

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
    """Finds an optimizer, which may be given as it is or by name; None and "adam" give `adam()`, with epsilon 1e-8.

    Every other name gives Keras's optimizer with Keras's settings. `keras.optimizers.Adam()` is Keras's own Adam, with
    epsilon 1e-7.

    Raises:
        UserError: Keras has no optimizer of that name; or the optimizer scales the loss and its gradients, which MAML
            does not do.
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


def build(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Builds an optimizer for variables.

    Raises:
        UserError: it is built for other variables already, whose state it would keep and save.
    """
    optimizer.build(variables)
    if [id(v) for v in optimizer._trainable_variables] != [id(v) for v in variables]:
        raise UserError(f"the optimizer {optimizer.name!r} was built for other variables: give a new one")


def steps_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """Calls of `apply` so far; `iterations` counts those that change the weights (`gradient_accumulation_steps`)."""
    return getattr(optimizer, "_iterations", optimizer.iterations)
