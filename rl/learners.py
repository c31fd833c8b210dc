"""From an RLExperiment to its policy and what trains it."""

import tensorflow as tf

from maml_tf import runtime, task_axis
from rl.maml_trpo import MAMLTRPO
from rl.policy import GaussianPolicy, gaussian_mlp
from rl.pretraining import AdamPretraining
from rl.trpo import TrustRegion


def build_policy(experiment, obs_dim, act_dim) -> GaussianPolicy:
    """The policy of an experiment with the initial weights of its seed."""
    hidden = (experiment.hidden_size,) * 2
    return GaussianPolicy(gaussian_mlp(obs_dim, act_dim, hidden, experiment.nonlinearity, seed=experiment.seed))


def build_learner(experiment, policy, how=None):
    """MAMLTRPO or AdamPretraining of an experiment; how over tasks as in `task_axis`, default `usual_task_axis`."""
    how = how or usual_task_axis()
    if experiment.optimizer == "adam":
        return AdamPretraining(policy, how)
    region = TrustRegion(delta=experiment.meta_step_size)
    return MAMLTRPO(policy, experiment.fast_lr, region, experiment.hessian_product, how)


def usual_task_axis():
    """On a CPU task by task, whose arrays of some 1 MB then stay in the caches; on a GPU all at once."""
    return task_axis.VECTORIZE if tf.config.list_physical_devices("GPU") else task_axis.MAP


def usual_threads(experiment):
    """The kind of `runtime.configure`: a task per core if there are enough; otherwise all cores per product."""
    many = experiment.meta_batch_size >= 2 * runtime.available_cores()
    return runtime.TASKS_SIDE_BY_SIDE if many else runtime.LARGE_PRODUCTS
