"""Builds the policy and the learner of an RLExperiment, new or restored from a run."""

import shlex
from pathlib import Path
from typing import Any

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs import process
from maml_tf.runs.boundary import as_called_here
from maml_tf.runs.checkpoints import Checkpoints, available
from maml_tf.task_axis import MAP, VECTORIZE
from rl import envs
from rl.experiment import RLExperiment
from rl.maml_trpo import MAMLTRPO
from rl.policy import GaussianPolicy, gaussian_mlp
from rl.trpo import TrustRegion
from rl.vpg import AdamPretraining


def build_policy(experiment: RLExperiment, obs_dim: int, act_dim: int) -> GaussianPolicy:
    """Builds the policy of an experiment, with the initial weights of its seed."""
    hidden = (experiment.hidden_size,) * 2
    model = gaussian_mlp(obs_dim, act_dim, hidden, experiment.nonlinearity, seed=experiment.seed)
    return GaussianPolicy(model, head_only=experiment.adapt == "head")


def build_learner(
    experiment: RLExperiment, policy: GaussianPolicy, task_axis: str | None = None, workers: Alone = ALONE
) -> MAMLTRPO | AdamPretraining:
    """Builds the learner of an experiment; task_axis is MAP or VECTORIZE of `maml_tf.task_axis`, or the usual one."""
    task_axis = task_axis or usual_task_axis()
    if experiment.optimizer == "adam":
        return AdamPretraining(policy, task_axis, workers)
    settings = experiment.fast_lr, trust_region(experiment), experiment.hessian_product
    return MAMLTRPO(policy, *settings, task_axis, workers)


def trust_region(experiment: RLExperiment) -> TrustRegion:
    """The trust region of an experiment's TRPO steps."""
    return TrustRegion(delta=experiment.meta_step_size)


def usual_task_axis() -> str:
    """MAP on a CPU, where one task's arrays of about 1 MB stay in the caches; VECTORIZE on a GPU."""
    return VECTORIZE if tf.config.list_physical_devices("GPU") else MAP


def usual_threads(experiment: RLExperiment) -> str:
    """The kind for `process.configure`: one task per core if there are enough tasks, else all cores per product."""
    many = experiment.meta_batch_size >= 2 * process.available_cores()
    return process.TASKS_SIDE_BY_SIDE if many else process.LARGE_PRODUCTS


def checkpoint_objects(policy: GaussianPolicy, learner: MAMLTRPO | AdamPretraining) -> dict[str, Any]:
    """What a run's checkpoints hold, by key: the model, the best return so far, the optimiser's state if it has one."""
    objects = {"model": policy.model, "best_return": tf.Variable(float("-inf"), dtype=tf.float64, trainable=False)}
    return objects | ({"optimizer": learner.optimizer} if hasattr(learner, "optimizer") else {})


class NotTrained(UserError):
    """There is no such run; the message has the command that trains it."""


def run_folder(experiment: RLExperiment, logdir: str | Path | None = None) -> Path:
    """The folder of an experiment's checkpoints, <logdir>/<env>/<run>; logdir defaults to logs."""
    return Path(logdir or "logs", env_folder(experiment.env), experiment.name)


def env_folder(env: str) -> str:
    """Converts the name of an environment to the name of a folder or file."""
    return env.replace(":", "_").replace("/", "_")


def train_command(experiment: RLExperiment, logdir: str | Path | None = None) -> str:
    """The shell command that trains an experiment, with the flags that differ from the paper's values."""
    flags = [*experiment.flags(), *([f"--logdir={logdir}"] if logdir else [])]
    return " ".join([as_called_here("python -m scripts.train_rl"), *map(shlex.quote, flags)])


def load_policy(
    experiment: RLExperiment, logdir: str | Path | None = None, iteration: int | None = None, best: bool = False
) -> tuple[GaussianPolicy, int]:
    """Restores a policy that `scripts.train_rl` trained.

    Args:
        experiment: RLExperiment, the settings that the policy was trained with.
        logdir: folder of the runs, as in `run_folder`.
        iteration: iteration of the checkpoint; default: the latest.
        best: whether to restore the policy with the best training return instead.

    Returns:
        (GaussianPolicy, iteration).

    Raises:
        NotTrained: there is no such run.
        UserError: there is no such environment; there is no whole policy in best/; or the checkpoint is damaged, was
            made with other settings, or does not exist for that iteration.
    """
    policy, folder = new_policy(experiment), run_folder(experiment, logdir)
    if not available(folder):
        raise NotTrained(f"no trained policy in {folder}: make it by `{train_command(experiment, logdir)}`")
    objects = checkpoint_objects(policy, build_learner(experiment, policy))
    store = Checkpoints(folder / "best" if best else folder, experiment, objects)
    if best and not store.is_whole():
        raise UserError(
            f"{store.folder} holds no whole policy: leave --best out to take the latest, or train for more iterations, "
            "which begins a new best"
        )
    return policy, store.restore(iteration)


def new_policy(experiment: RLExperiment) -> GaussianPolicy:
    """Builds the policy of an experiment before any training."""
    sizes = envs.make_vector(experiment.env, 1, 1, experiment.horizon, oracle=experiment.baseline == "oracle")
    sizes.close()
    return build_policy(experiment, sizes.obs_dim, sizes.act_dim)
