"""The metrics of tasks after each inner update, which tests, validations and summaries report."""

import functools

from data_generators.tasks import Tasks
from maml_tf import checks
from maml_tf.backend import tf
from maml_tf.pure_model import Known
from maml_tf.task_axis import map_tasks
from maml_tf.task_learner import Metrics, Start, TaskLearner

_PLURAL = {"loss": "losses", "accuracy": "accuracies"}


def curve_of(kind: str) -> str:
    """The name of a metric's values after each update in the result of `MAML.evaluate`: "losses" for "loss"."""
    return _PLURAL.get(kind, kind)


def after_each_update(
    learner: TaskLearner,
    start: Start,
    tasks: Tasks,
    orders: list,
    num_updates: int,
    transductive: bool,
    task_axis: str,
) -> Metrics:
    """Adapts to every task and measures its queries before and after every update.

    The loop over updates is outside the loop over tasks, so that the graph holds only one update.

    Args:
        learner: TaskLearner.
        start: Start, whose state has a task axis.
        tasks: Tasks of tensors.
        orders: list that holds the tensor of `TaskLearner.order`; empty if each update uses all examples.
        num_updates: inner updates.
        transductive: as for `MAML.evaluate`.
        task_axis: MAP or VECTORIZE.

    Returns:
        dict of tensors, with the names and shapes of the result of `MAML.evaluate`.
    """
    first_tensor = tf.nest.flatten(tasks)[0]
    count = checks.size(first_tensor)
    params, slots = tf.nest.map_structure(lambda t: tf.repeat(t[None], count, axis=0), (start.params, start.slots))
    carried = params, slots, start.state
    of_one, on_query = checks.of_one_task(carried), learner.metric_specs("query")

    def begun(carried, order):
        params, slots, state = carried
        return start._replace(params=params, slots=slots, state=state, order=order[0] if order else None)

    def knowing(task, moments):
        if not moments:
            return task
        # With orders, each update uses only a part of the support, so the moments are not those of its input.
        support_x = task.support_x if orders else Known(task.support_x, moments[0])
        return task._replace(support_x=support_x, query_x=Known(task.query_x, moments[1]))

    def before(element):
        carried, task, order = element
        # The moments of the first layer do not depend on the weights, so they are computed once. An evaluation of
        # miniImagenet takes 0.7 of the time.
        moments = [learner.model.moments(x) for x in (task.support_x, task.query_x)] if of_moments else []
        return learner.evaluate_start(begun(carried, order), knowing(task, moments), transductive), moments

    def after(i, element):
        carried, task, order, moments = element
        task = knowing(task, moments)
        left, metrics = learner.evaluate_update(begun(carried, order), task, i, transductive)
        return (left.params, left.slots, left.state), metrics

    def update(i, carried, curves):
        elements, signature = (carried, tasks, orders, moments), (of_one, on_query)
        carried, metrics = map_tasks(functools.partial(after, i), elements, signature, task_axis)
        return i + 1, carried, {name: curves[name].write(i + 1, metrics[name]) for name in curves}

    of_moments = 2 * [learner.model.moment_specs] if learner.model.moment_specs else []
    signature = learner.metric_specs("support", "query"), of_moments
    first, moments = map_tasks(before, (carried, tasks, orders), signature, task_axis)
    curves = {}
    for name, spec in on_query.items():
        empty = tf.TensorArray(spec.dtype, num_updates + 1, element_shape=[first_tensor.shape[0], *spec.shape])
        curves[name] = empty.write(0, first.pop(name))
    if num_updates:  # XLA compiles the body of a loop that never runs too, and there is no order for an update
        at_start = (0, carried, curves)
        *_, curves = tf.while_loop(lambda i, *_: i < num_updates, update, at_start, parallel_iterations=1)
    stacked = {name: tf.experimental.numpy.swapaxes(curve.stack(), 0, 1) for name, curve in curves.items()}
    return first | {curve_of(name.removeprefix("query_")): curve for name, curve in stacked.items()}
