"""What meta-training and pretraining descend: gradients of an objective of one task, their mean over a meta-batch."""

import tensorflow as tf

from maml_tf import task_axis as axis
from maml_tf.checks import of_one_task


def meta_gradients(learner, start, elements, num_updates, how):
    """The gradient of the query loss after adaptation.

    Args:
        learner: TaskLearner.
        start: (params, shared, state, step_size), tensors that every task starts from; the gradient is with respect to
            params, shared and, where step_size is a list, that too.
        elements: (Tasks of tensors, seeds for each task of `PureModel.seeds_per_task`).
        num_updates: inner updates.
        how: MAP or VECTORIZE of `task_axis`.

    Returns:
        (list of gradients, dict of figures before and after adaptation, list of the model's statistics after the
        support), each the mean over tasks.
    """
    params, shared, _, step_size = start
    watched = [*params, *shared, *(step_size if isinstance(step_size, list) else [])]

    def objective(*start_and_task):
        return learner.meta_objective(*start_and_task, num_updates)

    return _mean_gradients(objective, learner, start, watched, ("pre", "post"), elements, how)


def pretrain_gradients(learner, start, elements, how):
    """The gradient of the support loss without adaptation, with respect to params and shared.

    Args and result as in `meta_gradients`, without the figures after adaptation.
    """
    params, shared, _, _ = start

    def objective(params, shared, state, step_size, task):
        return learner.pretrain_objective(params, shared, state, task)

    return _mean_gradients(objective, learner, start, [*params, *shared], ("pre",), elements, how)


def _mean_gradients(objective, learner, start, watched, moments, elements, how):
    params, shared, state, step_size = start
    model = learner.model
    model.observe(of_one_task(elements[0].support_x))

    def one_task(element):
        task, seeds = element
        with tf.GradientTape() as tape:
            tape.watch(watched)
            seeded = model.with_seeds(state, seeds)
            loss, figures, after = objective(params, shared, seeded, step_size, task)
        gradients = tape.gradient(loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(g) for g in gradients], figures, model.statistics(after)

    signature = (
        [tf.TensorSpec(t.shape, t.dtype) for t in watched],
        {name: tf.TensorSpec([], params[0].dtype) for name in learner.figure_names(*moments)},
        [tf.TensorSpec(t.shape, t.dtype) for t in model.statistics(state)],
    )
    return axis.mean_over_tasks(one_task, elements, signature, how)
