"""The inner loop of MAML: gradient descent on a task's support loss, differentiable with respect to where it started.

Regression, classification, reinforcement learning and exported models all adapt through `adapt`.
"""

import tensorflow as tf


def adapt(loss, params, state, *, step_size, num_updates, first_order=False):
    """Takes gradient steps on `loss`, equation 1 of Finn, Abbeel and Levine (2017): params - step_size * gradient.

    Nothing is assigned: the fast weights are tensors, through which an outer `tf.GradientTape` differentiates to second
    order. A gradient that is None counts as zero; `tf.IndexedSlices` are made dense.

    Args:
        loss: function (params, state) -> (scalar value, state), differentiable in params.
        params: list of tensors to adapt.
        state: any structure of tensors; handed to `loss` and replaced by what it returns.
        step_size: scalar tensor or float; or a list of them, one for each of params.
        num_updates: number of gradient steps. A Python integer unrolls the loop; an integer tensor makes it a
            `tf.while_loop`, whose state must keep its shapes.
        first_order: stops the gradient through the updates (first-order MAML; `stop_grad` of the original).

    Returns:
        (params, state) after the last update.
    """
    step_sizes = list(step_size) if isinstance(step_size, list | tuple) else [step_size] * len(params)
    if len(step_sizes) != len(params):
        raise ValueError(f"got {len(step_sizes)} step sizes for {len(params)} parameters")

    def update(params, state):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value, state = loss(params, state)
        gradients = tape.gradient(value, params)
        return [_descend(p, g, s, first_order) for p, g, s in zip(params, gradients, step_sizes, strict=True)], state

    params = [tf.convert_to_tensor(p) for p in params]
    if isinstance(num_updates, int):
        for _ in range(num_updates):
            params, state = update(params, state)
        return params, state
    _, params, state = tf.while_loop(
        lambda i, *_: i < num_updates,
        lambda i, params, state: (i + 1, *update(params, state)),
        (tf.zeros_like(num_updates), params, state),
    )
    return params, state


def _descend(param, gradient, step_size, first_order):
    if gradient is None:
        return param
    gradient = tf.convert_to_tensor(gradient)
    if first_order:
        gradient = tf.stop_gradient(gradient)
    # A Python float must not pass through float32 on its way to a float64 parameter.
    step_size = tf.cast(step_size, param.dtype) if tf.is_tensor(step_size) else tf.constant(step_size, param.dtype)
    return param - step_size * gradient
