"""Optimizers of the inner loop: pairs of pure functions that a meta-gradient can differentiate to second order.

    directions, slots = update(gradients, slots)
    theta' = theta - alpha * directions

MAML's own inner loop is gradient descent, whose directions are the gradients. Other optimizers carry values, their
slots, from one update to the next.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from data_generators.errors import UserError
from maml_tf.backend import tf

Gradients = Sequence[tf.Tensor | None]  # None where a loss does not depend on a parameter


class InnerOptimizer(NamedTuple):
    """Two functions that turn gradients into directions.

    init: function (list of parameters) -> slots, any structure of tensors; () for none.
    update: function (gradients, slots) -> (a direction, or None, for each parameter; slots of the same shapes).
    """

    init: Callable[[Sequence], Any]
    update: Callable[[Gradients, Any], tuple[Gradients, Any]]


SGD = InnerOptimizer(lambda params: (), lambda gradients, slots: (gradients, slots))


def _zeros(params):
    return [tf.zeros_like(p) for p in params]


def momentum(decay: float = 0.9) -> InnerOptimizer:
    """Gradient descent with momentum: m <- decay * m + g, and m is the direction.

    Example:
        >>> update, m = momentum(0.5).update, [tf.constant(4.0)]
        >>> float(update([tf.constant(1.0)], m)[0][0])
        3.0
    """

    def update(gradients, slots):
        moved = [m * decay if g is None else m * decay + g for g, m in zip(gradients, slots, strict=True)]
        return moved, moved

    return InnerOptimizer(_zeros, update)


def adam(
    first: float = 0.9, second: float = 0.999, epsilon: float = 1e-8, epsilon_root: float = 1e-8
) -> InnerOptimizer:
    """Adam; in update t, for the gradient g:

        m <- first * m + (1 - first) * g,  v <- second * v + (1 - second) * g^2
        direction = m / (1 - first^t) / (sqrt(v / (1 - second^t) + epsilon_root) + epsilon)

    Args:
        first, second: decays of the moments. With first = 0 there is no first moment, and g takes the place of m.
        epsilon: as in Adam's paper.
        epsilon_root: number that makes the direction differentiable where a gradient is zero; it may be 0 to first
            order.
    """

    def init(params):
        return (_zeros(params) if first else [], _zeros(params), tf.zeros([], params[0].dtype))

    def update(gradients, slots):
        means, squares, count = slots
        gradients = [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, squares, strict=True)]
        count = count + 1
        if first:
            means = [first * m + (1 - first) * g for g, m in zip(gradients, means, strict=True)]
        squares = [second * v + (1 - second) * g * g for g, v in zip(gradients, squares, strict=True)]
        scale, square_scale = 1 - first**count, 1 - second**count
        directions = [
            m / scale / (tf.sqrt(v / square_scale + epsilon_root) + epsilon)
            for m, v in zip(means or gradients, squares, strict=True)
        ]
        return directions, (means, squares, count)

    return InnerOptimizer(init, update)


BY_NAME = {"sgd": SGD, "momentum": momentum(), "adam": adam()}
# Reptile's code has Adam without the first moment. Nothing is differentiated through it, so epsilon_root is 0.
_OF_REPTILE = {"adam": adam(first=0.0, epsilon_root=0.0)}


def find(given: InnerOptimizer | str, reptile: bool = False) -> InnerOptimizer:
    """Finds an inner optimizer, which may be given as an InnerOptimizer or by name.

    Args:
        given: InnerOptimizer, or "sgd", "momentum" or "adam".
        reptile: whether it is for Reptile.

    Raises:
        UserError: there is no inner optimizer of that name.
    """
    if isinstance(given, InnerOptimizer):
        return given
    if given not in BY_NAME:
        raise UserError(f"inner_optimizer must be one of {', '.join(BY_NAME)}, or an InnerOptimizer, not {given!r}")
    return (BY_NAME | _OF_REPTILE if reptile else BY_NAME)[given]
