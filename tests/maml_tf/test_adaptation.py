"""Tests every point of the inner loop's contract against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.adaptation import adapt

CURVATURES = np.array([0.5, 1.0, 3.0])
CENTRE = np.array([1.0, -2.0, 0.5])
START = np.array([4.0, 3.0, -1.0])


def quadratic(params, state):
    """sum of curvature / 2 * (p - centre)^2: its gradient is linear, so n steps have a closed form."""
    return tf.reduce_sum(CURVATURES / 2 * (params[0] - CENTRE) ** 2), state


def after(num_updates, step_size):
    """The closed form: each step shrinks the distance to the centre by 1 - step_size * curvature."""
    return CENTRE + (1 - step_size * CURVATURES) ** num_updates * (START - CENTRE)


def adapt_quadratic(num_updates=3, step_size=0.1, **settings):
    start = tf.constant(START)
    with tf.GradientTape() as tape:
        tape.watch(start)
        (adapted,), _ = adapt(quadratic, [start], (), step_size=step_size, num_updates=num_updates, **settings)
    return adapted, tape.gradient(adapted, start)


@pytest.mark.parametrize("num_updates", [0, 1, 3])
def test_closed_form_of_params_and_second_order_gradient(num_updates):
    adapted, gradient = adapt_quadratic(num_updates)
    np.testing.assert_allclose(adapted, after(num_updates, 0.1), rtol=1e-14)
    np.testing.assert_allclose(gradient, (1 - 0.1 * CURVATURES) ** num_updates, rtol=1e-14)


def test_first_order_stops_the_gradient_through_the_updates():
    adapted, gradient = adapt_quadratic(first_order=True)
    np.testing.assert_allclose(adapted, after(3, 0.1), rtol=1e-14)
    np.testing.assert_array_equal(gradient, np.ones(3))


def test_a_float_step_size_is_not_rounded_through_float32():
    adapted, _ = adapt_quadratic(1, 0.1)
    np.testing.assert_allclose(adapted, after(1, 0.1), rtol=1e-15)
    assert np.abs(after(1, float(np.float32(0.1))) / after(1, 0.1) - 1).max() > 1e-10


def test_float32():
    (adapted,), _ = adapt(lambda p, s: (p[0] ** 2, s), [tf.constant(1.0)], (), step_size=0.1, num_updates=2)
    assert adapted.dtype == tf.float32
    np.testing.assert_allclose(adapted, 0.64, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_tensor_step_size_and_its_gradient(dtype):
    step_size = tf.constant(0.25, dtype)
    with tf.GradientTape() as tape:
        tape.watch(step_size)
        (adapted,), _ = adapt(quadratic, [tf.constant(START)], (), step_size=step_size, num_updates=2)
    np.testing.assert_allclose(adapted, after(2, 0.25), rtol=1e-14)
    expected = np.sum(-2 * CURVATURES * (1 - 0.25 * CURVATURES) * (START - CENTRE))
    gradient = tape.gradient(adapted, step_size)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, expected, rtol=1e-14 if dtype == "float64" else 1e-6)


def test_one_step_size_per_parameter_and_its_gradients():
    params = [tf.constant(2.0, tf.float64), tf.constant(5.0, tf.float64)]
    sizes = [tf.constant(0.1, tf.float64), tf.constant(0.01, tf.float64)]
    with tf.GradientTape() as tape:
        tape.watch(sizes)
        adapted, _ = adapt(lambda p, s: (p[0] ** 2 + p[1] ** 3, s), params, (), step_size=sizes, num_updates=1)
    np.testing.assert_allclose(adapted, [2 - 0.1 * 4, 5 - 0.01 * 75], rtol=1e-14)
    np.testing.assert_allclose(tape.gradient(adapted, sizes), [-4, -75], rtol=1e-14)
    floats, _ = adapt(lambda p, s: (p[0] ** 2 + p[1] ** 3, s), params, (), step_size=[0.1, 0.01], num_updates=1)
    np.testing.assert_array_equal(floats, adapted)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("number", [int, tf.constant])
def test_a_step_size_for_each_update(number, first_order):
    """Unrolled or in a loop, in two calls that continue each other; as a number, a list, or a number per weight."""
    sizes = tf.constant([0.1, 0.2, 0.05], tf.float64)

    def run(step_size):
        start = tf.constant(START)
        with tf.GradientTape() as tape:
            tape.watch([start, sizes])
            settings = {"step_size": step_size, "first_order": first_order}
            params, _ = adapt(quadratic, [start], (), num_updates=number(1), **settings)
            params, _ = adapt(quadratic, params, (), num_updates=number(2), first_update=1, **settings)
        return params[0], *tape.gradient(params[0], [start, sizes])

    shrinks = 1 - np.array([0.1, 0.2, 0.05])[:, None] * CURVATURES
    distances = np.cumprod(np.concatenate([[START - CENTRE], shrinks]), axis=0)  # before each update, and at the end
    for step_size in (lambda i: sizes[i], lambda i: [sizes[i]], lambda i: tf.fill([3], sizes[i])):
        adapted, of_start, of_sizes = run(step_size)
        np.testing.assert_allclose(adapted, CENTRE + distances[-1], rtol=1e-14)
        np.testing.assert_allclose(of_start, np.ones(3) if first_order else np.prod(shrinks, axis=0), rtol=1e-14)
        later = np.array([shrinks[i + 1 :].prod(axis=0) for i in range(3)])
        expected = -(CURVATURES * distances[:3] * (1 if first_order else later)).sum(axis=1)
        np.testing.assert_allclose(tf.convert_to_tensor(of_sizes), expected, rtol=1e-13)


def test_a_step_size_for_each_weight():
    sizes = [tf.constant([0.1, 0.2, 0.3], tf.float64)]
    (adapted,), _ = adapt(quadratic, [tf.constant(START)], (), step_size=sizes, num_updates=2)
    expected = CENTRE + (1 - np.array([0.1, 0.2, 0.3]) * CURVATURES) ** 2 * (START - CENTRE)
    np.testing.assert_allclose(adapted, expected, rtol=1e-14)


@pytest.mark.parametrize("sizes", [[], [0.1], [0.1, 0.1, 0.1]])
def test_a_wrong_number_of_step_sizes_is_refused(sizes):
    with pytest.raises(ValueError, match=f"{len(sizes)} step sizes for 2 variables that adapt"):
        adapt(lambda p, s: (p[0] * p[1], s), [tf.constant(1.0), tf.constant(1.0)], (), step_size=sizes, num_updates=1)


def test_a_gradient_that_is_none_counts_as_zero():
    used, unused = tf.constant(START), tf.constant([7.0])
    with tf.GradientTape() as tape:
        tape.watch(unused)
        adapted, _ = adapt(quadratic, [used, unused], (), step_size=0.1, num_updates=2)
    np.testing.assert_allclose(adapted[0], after(2, 0.1), rtol=1e-14)
    np.testing.assert_array_equal(adapted[1], [7.0])
    np.testing.assert_array_equal(tape.gradient(adapted[1], unused), [1.0])


@pytest.mark.parametrize("compiled", [False, True])
def test_indexed_slices_are_made_dense(compiled):
    table, rows = tf.constant(np.arange(8.0).reshape(4, 2)), tf.constant([2, 0, 2])

    def half_square(params, state):
        return tf.reduce_sum(tf.gather(params[0], rows) ** 2) / 2, state

    def run(table):
        with tf.GradientTape() as tape:
            tape.watch(table)
            (adapted,), _ = adapt(half_square, [table], (), step_size=0.1, num_updates=2)
        return adapted, tf.convert_to_tensor(tape.gradient(adapted, table))

    adapted, gradient = (tf.function(run) if compiled else run)(table)
    shrink = np.array([[0.9], [1.0], [0.8], [1.0]]) ** 2  # row 2 is looked up twice, rows 1 and 3 never
    np.testing.assert_allclose(adapted, table * shrink, rtol=1e-14)
    np.testing.assert_allclose(gradient, np.tile(shrink, 2), rtol=1e-14)


def test_state_goes_in_is_threaded_and_comes_out():
    def loss(params, state):
        weight, history = state["weight"], state["history"]
        return weight * params[0] ** 2 / 2, {"weight": weight * 2, "history": (*history, params[0])}

    state = {"weight": tf.constant(1.0), "history": ()}
    (adapted,), state = adapt(loss, [tf.constant(1.0)], state, step_size=0.1, num_updates=3)
    np.testing.assert_allclose(state["history"], [1, 0.9, 0.9 * 0.8], rtol=1e-6)
    np.testing.assert_allclose(adapted, 0.9 * 0.8 * 0.6, rtol=1e-6)
    assert state["weight"] == 8


def test_zero_updates_leave_params_and_state():
    params, state = [tf.constant(1.0)], {"s": tf.constant(2)}
    adapted, after_state = adapt(lambda p, s: 1 / 0, params, state, step_size=0.1, num_updates=0)
    assert (adapted[0].numpy(), after_state) == (1.0, state)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("num_updates", [0, 1, 4])
def test_a_tensor_of_updates_equals_unrolled_ones(num_updates, first_order):
    """The loss is not quadratic; it has state, and the step size is meta-learned."""

    def loss(params, state):
        return tf.reduce_sum(tf.sin(params[0]) * params[1] ** 2) * (1 + state), state + 0.5

    def run(num_updates):
        params = [tf.constant(START), tf.constant(CURVATURES)]
        step_size, state = tf.constant(0.05, tf.float64), tf.constant(0.25, tf.float64)
        watched = [*params, step_size, state]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            adapted, state = adapt(
                loss, params, state, step_size=step_size, num_updates=num_updates, first_order=first_order
            )
            value = tf.reduce_sum(adapted[0] * adapted[1]) + 0 * state
        return [*adapted, state, *tape.gradient(value, watched, unconnected_gradients="zero")]

    unrolled = run(num_updates)
    for dynamic in (run(tf.constant(num_updates)), tf.function(run)(tf.constant(num_updates))):
        for actual, expected in zip(dynamic, unrolled, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-15)
    assert np.linalg.norm(unrolled[5]) > 0 or num_updates == 0 or first_order


def test_variables_are_read_but_never_assigned():
    variable = tf.Variable(START)
    with tf.GradientTape() as tape:
        (adapted,), _ = adapt(quadratic, [variable], (), step_size=0.1, num_updates=2)
    np.testing.assert_array_equal(variable, START)
    np.testing.assert_allclose(adapted, after(2, 0.1), rtol=1e-14)
    np.testing.assert_allclose(tape.gradient(adapted, variable), (1 - 0.1 * CURVATURES) ** 2, rtol=1e-14)


def test_meta_gradient_where_the_curvature_changes():
    """The support and query losses are cubic; the gradient is d/dp of (p - a p^2)^3 / 3."""
    p = tf.constant(0.7, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(p)
        (adapted,), _ = adapt(lambda p, s: (p[0] ** 3 / 3, s), [p], (), step_size=0.1, num_updates=1)
        query = adapted**3 / 3
    expected = (0.7 - 0.1 * 0.7**2) ** 2 * (1 - 2 * 0.1 * 0.7)
    np.testing.assert_allclose(tape.gradient(query, p), expected, rtol=1e-14)
