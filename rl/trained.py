"""A trained policy, found by its experiment below the folder of runs."""

from pathlib import Path

from data_generators.errors import UserError
from maml_tf.checkpoints import available
from rl import envs
from rl.checkpoints import PolicyCheckpoints
from rl.learners import build_learner, build_policy


class NotTrained(UserError):
    """There is no such run; the message has the command that makes it."""


def run_folder(experiment, logdir=None) -> Path:
    """The folder of an experiment's checkpoints, <logdir>/<env>/<run>; logdir defaults to logs."""
    return Path(logdir or "logs", env_folder(experiment.env), experiment.name)


def env_folder(env) -> str:
    """The name of an environment as that of a folder or file."""
    return env.replace(":", "_").replace("/", "_")


def train_command(experiment, logdir=None) -> str:
    """The command that trains an experiment: the flags that differ from the paper's values."""
    flags = [f"--{name}={value}" for name, value in experiment.given.items()]
    return " ".join(["python -m scripts.train_rl", *flags] + ([f"--logdir={logdir}"] if logdir else []))


def load_policy(experiment, logdir=None, iteration=None, best=False):
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
        UserError: there is no whole policy in best/; or a checkpoint is damaged, of another environment, network or
            other settings, or not of that iteration.
    """
    folder = run_folder(experiment, logdir)
    if not available(folder):
        raise NotTrained(f"no trained policy in {folder}: make it by `{train_command(experiment, logdir)}`")
    policy = new_policy(experiment)
    optimizer = getattr(build_learner(experiment, policy), "optimizer", None)
    store = PolicyCheckpoints(folder / "best" if best else folder, policy.model, experiment, optimizer)
    if best and not store.is_whole():
        raise UserError(
            f"{store.folder} holds no whole policy: leave --best out to take the latest, or train for more iterations, "
            "which begins a new best"
        )
    return policy, store.restore(iteration)


def new_policy(experiment):
    """The policy of an experiment before any training."""
    sizes = envs.make_vector(experiment.env, 1, 1, experiment.horizon, oracle=experiment.baseline == "oracle")
    return build_policy(experiment, sizes.obs_dim, sizes.act_dim)
