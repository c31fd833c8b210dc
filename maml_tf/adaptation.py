"""The inner loop of MAML: gradient descent on a task's support loss, differentiable in the initial weights.

Regression, classification, reinforcement learning and exported models all adapt through `descend`. `adapt` calls
`descend` and returns only the fast weights and the state.
"""

from collections.abc import Callable, Sequence
from typing import Any

from data_generators.errors import UserError
from maml_tf.backend import tf
from maml_tf.inner_optimizers import SGD, InnerOptimizer
from maml_tf.recomputation import recomputed


def adapt(
    loss: Callable,
    params: Sequence,
    state: Any,
    *,
    step_size: Any,
    num_updates: int | tf.Tensor,
    first_update: int = 0,
    first_order: bool = False,
    optimizer: InnerOptimizer = SGD,
    remat: bool = False,
) -> tuple[list[tf.Tensor], Any]:
    """Takes gradient steps on a loss: the inner update of Finn, Abbeel and Levine (2017), num_updates times.

        theta' = theta - alpha * grad_theta L(theta)

    No variable is assigned: the fast weights theta' are tensors, and an outer `tf.GradientTape` can differentiate
    through them to second order. A gradient that is None counts as zero; `tf.IndexedSlices` are made dense.

    Args:
        loss: function (params, state) -> (scalar value, state), differentiable in params.
        params: theta, the list of tensors to adapt.
        state: any structure of tensors; passed to `loss` and replaced by the state that it returns.
        step_size: alpha, a number or scalar tensor; or a list with a scalar or a tensor of the parameter's shape for
            each of params; or a function of the update's index that returns one of these.
        num_updates: number of gradient steps. A Python integer unrolls the loop; an integer tensor makes it a
            `tf.while_loop`, whose state must keep its shapes.
        first_update: index of the first update, for step sizes that depend on the index.
        first_order: whether to stop the gradient through the updates (first-order MAML; `stop_grad` of the original).
        optimizer: InnerOptimizer that turns gradients into the directions of the updates.
        remat: whether the outer derivative recomputes each update instead of keeping its activations in memory; the
            result is the same, see `recomputation`. This saves memory for derivatives by params, state and step_size.
            With first_order no activations are kept, so it changes nothing.

    Returns:
        (theta', state) after the last update.

    Raises:
        ValueError: step_size is a list whose length is not that of params.
        UserError: the loss has no gradient in any of params.
        UserError: with `remat`, in a graph, the loss draws random numbers that would differ when it is recomputed.

    Example:
        >>> def loss(params, state):
        ...     return params[0] ** 2, state
        >>> theta = tf.constant(1.0)
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(theta)
        ...     (adapted,), _ = adapt(loss, [theta], (), step_size=0.25, num_updates=2)
        >>> float(adapted), float(tape.gradient(adapted, theta))  # each update halves theta
        (0.25, 0.25)
    """

    params = [tf.convert_to_tensor(p) for p in params]
    settings = {"step_size": step_size, "num_updates": num_updates, "first_update": first_update}
    settings |= {"first_order": first_order, "optimizer": optimizer, "remat": remat}
    adapted, _, state = descend(loss, params, optimizer.init(params), state, **settings)
    return adapted, state


def descend(
    loss: Callable,
    params: Sequence,
    slots: Any,
    state: Any,
    *,
    step_size: Any,
    num_updates: int | tf.Tensor,
    first_update: int = 0,
    first_order: bool = False,
    optimizer: InnerOptimizer = SGD,
    remat: bool = False,
) -> tuple[list[tf.Tensor], Any, Any]:
    """Adapts like `adapt`, from given tensors and optimizer slots; returns (theta', slots, state) to continue from."""

    def update(params, slots, state, alphas):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value, state = loss(params, state)
        gradients = [_prepared(g, first_order) for g in _connected(tape.gradient(value, params))]
        directions, slots = optimizer.update(gradients, slots)
        return [_descend(p, d, a) for p, d, a in zip(params, directions, alphas, strict=True)], slots, state

    if remat and not first_order:
        update = recomputed(update)

    def sizes(i):
        return _one_for_each(params, step_size(i) if callable(step_size) else step_size)

    carried = list(params), slots, state
    if isinstance(num_updates, int):
        for i in range(num_updates):
            carried = update(*carried, sizes(first_update + i))
        return carried
    return tf.while_loop(
        lambda i, *_: i < num_updates,
        lambda i, params, slots, state: (i + 1, *update(params, slots, state, sizes(first_update + i))),
        (tf.zeros_like(num_updates), *carried),
    )[1:]


def gradients_of(tape: tf.GradientTape, value: tf.Tensor, params: Sequence) -> list[tf.Tensor]:
    """The gradients of a scalar, dense, with zeros for params that it does not depend on.

    Raises:
        UserError: it depends on none of them in a way that can be differentiated.
    """
    gradients = zip(_connected(tape.gradient(value, params)), params, strict=True)
    return [tf.zeros_like(p) if g is None else tf.convert_to_tensor(g) for g, p in gradients]


def _connected(gradients):
    if gradients and all(gradient is None for gradient in gradients):
        why = "rounding, comparisons, argmax and NumPy have no derivative"
        raise UserError(f"the loss has no gradient in the weights that it is given, so nothing would change: {why}")
    return gradients


def _one_for_each(params, step_size):
    alphas = list(step_size) if isinstance(step_size, list | tuple) else [step_size] * len(params)
    if len(alphas) != len(params):
        raise UserError(f"there are {len(alphas)} step sizes for {len(params)} variables that adapt: give one for each")
    return alphas


def _prepared(gradient, first_order):
    if gradient is None:
        return None
    gradient = tf.convert_to_tensor(gradient)
    return tf.stop_gradient(gradient) if first_order else gradient


def _descend(param, direction, alpha):
    if direction is None:
        return param
    # A Python float must not pass through float32 on its way to a float64 parameter.
    alpha = tf.cast(alpha, param.dtype) if tf.is_tensor(alpha) else tf.constant(alpha, param.dtype)
    return param - alpha * direction
