"""The figures of a meta-batch after every inner update."""

import tensorflow as tf

from maml_tf import task_axis as axis
from maml_tf.task_learner import Inner

_PLURAL = {"query_loss": "losses", "query_accuracy": "accuracies"}


def curves(learner, initial, step_size, tasks, seeds, num_updates, how, transductive=True):
    """Adapts to every task and judges it before and after every update.

    The loop over updates is the outer one, each update for all tasks, so that the graph holds one update only.

    Args:
        learner: TaskLearner.
        initial: (params, shared, state) to start from.
        step_size: of the updates, as for `adapt`.
        tasks: Tasks of tensors.
        seeds: seeds for each task, of `PureModel.seeds_per_task`.
        num_updates: inner updates.
        how: MAP or VECTORIZE of `task_axis`.
        transductive: normalise queries by their own batch statistics. Otherwise by those of the support under the same
            weights, see `PureModel.after_adaptation`.

    Returns:
        dict of tensors: `support_loss` [tasks] before adaptation, `losses` [tasks, 1 + num_updates] on the query;
        `support_accuracy` and `accuracies` likewise where the learner has an accuracy.
    """
    params, shared, state = initial
    count = tf.nest.flatten(tasks)[0].shape[0]
    params, state = tf.nest.map_structure(lambda t: tf.repeat(t[None], count, axis=0), (params, state))
    state = learner.model.with_seeds(state, seeds)
    scalar = tf.TensorSpec([], params[0].dtype)
    support, query = ({f"{name}_{kind}": scalar for kind in learner.figure_kinds} for name in ("support", "query"))
    of_task = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), (params, state))

    def on_query(params, state, task):
        return learner.judge(params, shared, state, *task[2:], "query", transductive)

    def before(element):
        params, state, task = element
        on_support, observed = learner.observe(params, shared, state, *task[:2], "support")
        return on_support | on_query(params, state if transductive else observed, task)

    def update(element):
        params, state, task = element
        params, inner = learner.adapt(params, shared, Inner(state), *task[:2], 1, step_size)
        state = inner.model_state
        settled = state if transductive else learner.model.after_adaptation(params, shared, state, task.support_x)
        return params, state, on_query(params, settled, task)

    def body(i, params, state, arrays):
        params, state, figures = axis.map_tasks(update, (params, state, tasks), (*of_task, query), how)
        return i + 1, params, state, {name: arrays[name].write(i + 1, figures[name]) for name in arrays}

    first = axis.map_tasks(before, (params, state, tasks), support | query, how)
    empty = {name: tf.TensorArray(scalar.dtype, num_updates + 1, element_shape=[count]) for name in query}
    arrays = {name: array.write(0, first[name]) for name, array in empty.items()}
    *_, arrays = tf.while_loop(lambda i, *_: i < num_updates, body, (0, params, state, arrays), parallel_iterations=1)
    after = {_PLURAL[name]: tf.transpose(array.stack()) for name, array in arrays.items()}
    return {name: first[name] for name in support} | after
