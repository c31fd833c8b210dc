"""The inner loop of MAML: gradient descent on a task's support loss, differentiable with respect to where it started.

Regression, classification, reinforcement learning and exported models all adapt through `adapt`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def adapt(
    loss: Callable,
    params: Sequence,
    state: Any,
    *,
    step_size: Any,
    num_updates: int | tf.Tensor,
    first_update: int = 0,
    first_order: bool = False,
) -> tuple[list[tf.Tensor], Any]:
    """Takes gradient steps on a loss: equation 1 of Finn, Abbeel and Levine (2017), num_updates times.

        theta' = theta - alpha * grad_theta L(theta)

    Nothing is assigned: the fast weights theta' are tensors, through which an outer `tf.GradientTape` differentiates to
    second order. A gradient that is None counts as zero; `tf.IndexedSlices` are made dense.

    Args:
        loss: function (params, state) -> (scalar value, state), differentiable in params.
        params: theta, the list of tensors to adapt.
        state: any structure of tensors; handed to `loss` and replaced by what it returns.
        step_size: alpha. A number or scalar tensor; or a list, for each of params a scalar or a tensor of its shape; or
            a function of the update's index that gives either.
        num_updates: number of gradient steps. A Python integer unrolls the loop; an integer tensor makes it a
            `tf.while_loop`, whose state must keep its shapes.
        first_update: index of the first of these updates, for a step size that depends on it.
        first_order: stops the gradient through the updates (first-order MAML; `stop_grad` of the original).

    Returns:
        (theta', state) after the last update.

    Raises:
        ValueError: step_size is a list of another length than params.

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

    def update(i, params, state):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value, state = loss(params, state)
        gradients = tape.gradient(value, params)
        alphas = _one_for_each(params, step_size(i) if callable(step_size) else step_size)
        return [_descend(p, g, a, first_order) for p, g, a in zip(params, gradients, alphas, strict=True)], state

    adapted = [tf.convert_to_tensor(p) for p in params]
    if isinstance(num_updates, int):
        for i in range(num_updates):
            adapted, state = update(first_update + i, adapted, state)
        return adapted, state
    _, adapted, state = tf.while_loop(
        lambda i, *_: i < num_updates,
        lambda i, params, state: (i + 1, *update(first_update + i, params, state)),
        (tf.zeros_like(num_updates), adapted, state),
    )
    return adapted, state


def _one_for_each(params, step_size):
    alphas = list(step_size) if isinstance(step_size, list | tuple) else [step_size] * len(params)
    if len(alphas) != len(params):
        raise ValueError(f"got {len(alphas)} step sizes for {len(params)} parameters")
    return alphas


def _descend(param, gradient, alpha, first_order):
    if gradient is None:
        return param
    gradient = tf.convert_to_tensor(gradient)
    if first_order:
        gradient = tf.stop_gradient(gradient)
    # A Python float must not pass through float32 on its way to a float64 parameter.
    alpha = tf.cast(alpha, param.dtype) if tf.is_tensor(alpha) else tf.constant(alpha, param.dtype)
    return param - alpha * gradient
