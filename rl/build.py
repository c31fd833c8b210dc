"""From an RLExperiment to its policy and its learner, new or restored from a run."""

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
    """The policy of an experiment with the initial weights of its seed."""
    hidden = (experiment.hidden_size,) * 2
    model = gaussian_mlp(obs_dim, act_dim, hidden, experiment.nonlinearity, seed=experiment.seed)
    return GaussianPolicy(model, head_only=experiment.adapt == "head")


def build_learner(
    experiment: RLExperiment, policy: GaussianPolicy, task_axis: str | None = None, workers: Alone = ALONE
) -> MAMLTRPO | AdamPretraining:
    """The learner of an experiment, over tasks by MAP or VECTORIZE of `maml_tf.task_axis`; None: `usual_task_axis`."""
    task_axis = task_axis or usual_task_axis()
    if experiment.optimizer == "adam":
        return AdamPretraining(policy, task_axis, workers)
    settings = experiment.fast_lr, trust_region(experiment), experiment.hessian_product
    return MAMLTRPO(policy, *settings, task_axis, workers)


def trust_region(experiment: RLExperiment) -> TrustRegion:
    """That of an experiment's TRPO steps."""
    return TrustRegion(delta=experiment.meta_step_size)


def usual_task_axis() -> str:
    """On a CPU task by task, whose arrays of some 1 MB then stay in the caches; on a GPU all at once."""
    return VECTORIZE if tf.config.list_physical_devices("GPU") else MAP


def usual_threads(experiment: RLExperiment) -> str:
    """The kind of `process.configure`: a task per core if there are enough; otherwise all cores per product."""
    many = experiment.meta_batch_size >= 2 * process.available_cores()
    return process.TASKS_SIDE_BY_SIDE if many else process.LARGE_PRODUCTS


def checkpoint_objects(policy: GaussianPolicy, learner: MAMLTRPO | AdamPretraining) -> dict[str, Any]:
    """What a run's checkpoints hold, by key: the model, the best return so far, the optimiser's state if it has one."""
    objects = {"model": policy.model, "best_return": tf.Variable(float("-inf"), dtype=tf.float64, trainable=False)}
    return objects | ({"optimizer": learner.optimizer} if hasattr(learner, "optimizer") else {})


class NotTrained(UserError):
    """There is no such run; the message has the command that makes it."""


def run_folder(experiment: RLExperiment, logdir: str | Path | None = None) -> Path:
    """The folder of an experiment's checkpoints, <logdir>/<env>/<run>; logdir defaults to logs."""
    return Path(logdir or "logs", env_folder(experiment.env), experiment.name)


def env_folder(env: str) -> str:
    """The name of an environment as that of a folder or file."""
    return env.replace(":", "_").replace("/", "_")


def train_command(experiment: RLExperiment, logdir: str | Path | None = None) -> str:
    """The command that trains an experiment, for a shell: the flags that differ from the paper's values."""
    flags = [*experiment.flags(), *([f"--logdir={logdir}"] if logdir else [])]
    return " ".join([as_called_here("python -m scripts.train_rl"), *map(shlex.quote, flags)])


def load_policy(
    experiment: RLExperiment, logdir: str | Path | None = None, iteration: int | None = None, best: bool = False
) -> tuple[GaussianPolicy, int]:
    """Restores a policy that `scripts.train_rl` trained.

    Args:
        experiment: RLExperiment, the settings that it was trained with.
        logdir: folder of the runs, as in `run_folder`.
        iteration: of the checkpoint; default, the latest.
        best: take the policy with the best training return instead.

    Returns:
        (GaussianPolicy, iteration).

    Raises:
        NotTrained: there is no such run.
        UserError: there is no such environment, or no whole policy in best/; or a checkpoint is damaged, of another
            environment, network or other settings, or not of that iteration.
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
    """The policy of an experiment before any training."""
    sizes = envs.make_vector(experiment.env, 1, 1, experiment.horizon, oracle=experiment.baseline == "oracle")
    sizes.close()
    return build_policy(experiment, sizes.obs_dim, sizes.act_dim)
