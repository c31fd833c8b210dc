"""Evaluation: the return of policies on goals that they were not trained on, after 0, 1, ... updates."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.progress import progress
from maml_tf.runs.statistics import mean_ci95
from rl import build
from rl.advantages import Samples, estimate
from rl.envs import find, make_vector, test_goals
from rl.envs.vector import TaskVector
from rl.experiment import FINITE_DIFFERENCE, POLICIES, RLExperiment
from rl.maml_trpo import MAMLTRPO
from rl.policy import GaussianPolicy, Params
from rl.sampling import Trajectories, sample_tasks
from rl.trpo import TrustRegion
from rl.vpg import TaskUpdate

VPG, TRPO = "vpg", "trpo"
_SEED = (2**32 - 1, 2**32 - 1)  # a seed and an iteration that no training reaches


@dataclasses.dataclass(frozen=True, eq=False)
class Adaptation:
    """The returns of a policy before and after adaptation.

    returns: [goals, 1 + updates], mean undiscounted return of the trajectories sampled after 0, 1, ... updates.
    trajectories: list over 0, 1, ... updates of Trajectories, for pictures; None unless they were asked for.
    """

    returns: np.ndarray
    trajectories: list[Trajectories] | None = None

    @property
    def mean(self) -> np.ndarray:
        """[1 + updates] mean over goals."""
        return self.returns.mean(0)

    @property
    def ci95(self) -> np.ndarray:
        """[1 + updates] half width of the 95 % confidence interval of `mean`: 1.96 * std / sqrt(goals)."""
        return mean_ci95(self.returns)[1]


def adapt_to_goals(
    policy: GaussianPolicy,
    envs: TaskVector,
    goals: np.ndarray,
    step_sizes: Sequence[float],
    update: str = VPG,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
    on_batch: Callable[[], object] | None = None,
    keep_trajectories: bool = False,
    region: TrustRegion = TrustRegion(),  # noqa: B008 - it is frozen
    hessian_product: str = FINITE_DIFFERENCE,
) -> Adaptation:
    """Adapts a policy to every goal by itself and samples before and after every update.

    An update is one gradient step on the batch just sampled, over all parameters that the policy adapts, its baseline
    fitted anew.

    Args:
        policy: GaussianPolicy; it is left as it is.
        envs: of `rl.envs.make_vector`, with as many tasks as there are goals.
        goals: [goals, goal_dim].
        step_sizes: of each update; as many updates are made. TRPO only takes their number.
        update: VPG, the plain gradient step of the original's tests, or TRPO, a step in a trust region.
        discount, gae_lambda: of the advantages.
        on_batch: called after each batch of samples.
        keep_trajectories: whether the Adaptation has them; for ants they take hundreds of megabytes an update.
        region, hessian_product: of TRPO's steps, see `TrustRegionUpdate`.

    Returns:
        Adaptation.

    Raises:
        UserError: numbers are not finite.
    """
    by_trpo = functools.partial(TrustRegionUpdate, region=region, hessian_product=hessian_product)
    updates: dict[str, Callable] = {VPG: TaskUpdate, TRPO: by_trpo}
    change = updates[update](policy)
    params, returns, kept = policy.stacked(len(goals)), [], []
    for number in range(len(step_sizes) + 1):
        trajectories = sample_tasks(policy, params, envs, goals, (*_SEED, number))
        returns.append(trajectories.returns.mean(1))
        if keep_trajectories:
            kept.append(trajectories)
        if number < len(step_sizes):
            params = change(params, estimate(trajectories, discount, gae_lambda)[0], step_sizes[number])
        if on_batch:
            on_batch()
    return Adaptation(np.stack(returns, axis=1), kept if keep_trajectories else None)


class TrustRegionUpdate:
    """A whole TRPO step on all parameters, in place of a plain gradient step, for every task by itself.

    Args:
        policy: GaussianPolicy; it is left as it is.
        region: trpo.TrustRegion.
        hessian_product: see `MAMLTRPO`.
    """

    def __init__(self, policy: GaussianPolicy, region: TrustRegion, hessian_product: str):
        self.policy = policy
        self.learner = MAMLTRPO(policy, region=region, hessian_product=hessian_product)

    def __call__(self, params: Params, samples: Samples, step_size: float | None = None) -> Params:
        """Updates every task; arguments as for `vpg.TaskUpdate`, but the step size is the trust region's."""
        thetas = [self._of_task([p[task] for p in params], samples, task) for task in range(len(params[0]))]
        return [tf.stack(values) for values in zip(*map(self.policy.unflatten, thetas), strict=True)]

    def _of_task(self, params, samples, task):
        theta = tf.concat([tf.reshape(p, [-1]) for p in params], axis=0)
        of_task = type(samples)(*(value[task : task + 1] for value in samples))
        return self.learner.solve(theta, (), of_task).theta


def restore_policies(
    experiment: RLExperiment,
    names: Sequence[str] = POLICIES,
    *,
    logdir: str | Path | None = None,
    iteration: int | None = None,
    best: bool = False,
    required: bool = False,
) -> dict[str, GaussianPolicy]:
    """Restores the policies that `scripts.train_rl` trained, and prints their iterations.

    Args:
        experiment: RLExperiment of the MAML run. The baselines are those of the paper's settings, with the same
            network, horizon and seed. Or that of a baseline, which then is the only policy to name.
        names: some of POLICIES.
        logdir: folder of the runs, as for `build.run_folder`.
        iteration, best: of the experiment's own policy, as for `build.load_policy`; of the others, the latest is taken.
        required: whether a policy that was not trained is an error; otherwise it is left out.

    Returns:
        dict of GaussianPolicy by name.

    Raises:
        UserError: none of them was trained, or a checkpoint cannot be restored.
    """
    found, missing = {}, []
    for name in names:
        chosen = (iteration, best) if name == experiment.baseline else ()
        try:
            found[name] = _restore(_of_policy(experiment, name), name, logdir, *chosen)
        except build.NotTrained as error:
            if required:
                raise
            missing.append(error)
            print(f"{name} is left out: {error}")
    if missing and found.keys() <= {"random"}:
        raise missing[0]
    return found


def _of_policy(experiment, name):
    """The settings of a policy that is compared with that of a run, or of the run's own."""
    if name == experiment.baseline:
        return experiment
    if name == "random":
        nonlinearity = find(experiment.env).random_nonlinearity or experiment.nonlinearity
        return dataclasses.replace(experiment, nonlinearity=nonlinearity, adapt="all")
    network = {key: getattr(experiment, key) for key in ("env", "seed", "hidden_size", "nonlinearity", "horizon")}
    return RLExperiment.of(baseline=name, **network)


def _restore(experiment, name, *where):
    if name == "random":
        return build.new_policy(experiment)
    policy, iteration = build.load_policy(experiment, *where)
    print(f"{name}: the policy of iteration {iteration}")
    return policy


def evaluate(
    experiment: RLExperiment,
    policies: dict[str, GaussianPolicy],
    *,
    update: str = VPG,
    num_updates: int | None = None,
    trajectories: int | None = None,
    required: bool = False,
) -> dict[str, Adaptation]:
    """Adapts policies to the published test goals of an environment.

    Args:
        experiment: RLExperiment, as for `restore_policies`.
        policies: by name, of `restore_policies`.
        update: as for `adapt_to_goals`.
        num_updates: None takes as many as the original; an oracle does not adapt.
        trajectories: per goal and update; None takes as many as the original.
        required: whether a policy whose numbers become infinite is an error; otherwise it is left out, unless all are.

    Returns:
        dict of Adaptation by name. That of MAML has its trajectories, where the environment's are drawn.

    Raises:
        UserError: numbers are not finite.
    """
    environment, found, failed = find(experiment.env), {}, None
    for name, policy in policies.items():
        updates = 0 if name == "oracle" else num_updates or environment.protocol.updates
        keep = name == "maml" and environment.draws_trajectories
        try:
            with progress(updates + 1, f"Evaluating {name}", "round") as bar:
                found[name] = adapt_by_protocol(
                    experiment,
                    name,
                    policy,
                    test_goals(experiment.env),
                    updates,
                    trajectories,
                    update=update,
                    on_batch=bar.update,
                    keep_trajectories=keep,
                )
        except UserError as error:  # its numbers are not finite: the others may do better
            if required:
                raise
            failed = error
            print(f"{name} is left out: {error}")
    if failed and not found:
        raise failed
    return found


def adapt_by_protocol(
    experiment: RLExperiment,
    name: str,
    policy: GaussianPolicy,
    goals: np.ndarray,
    num_updates: int,
    trajectories: int | None = None,
    **settings: Any,
) -> Adaptation:
    """Adapts a policy as the environment's EvaluationProtocol does.

    Args:
        experiment: RLExperiment, as for `restore_policies`.
        name: of the policy, one of POLICIES.
        policy: GaussianPolicy.
        goals: [goals, goal_dim].
        num_updates: number of updates.
        trajectories: per goal and update; None takes the protocol's.
        settings: update, on_batch and keep_trajectories of `adapt_to_goals`.

    Returns:
        Adaptation.

    Raises:
        UserError: numbers are not finite.
    """
    protocol = find(experiment.env).protocol
    sizes = len(goals), trajectories or protocol.trajectories, experiment.horizon
    vector = make_vector(experiment.env, *sizes, oracle=name == "oracle")
    step_sizes = protocol.alphas(name, num_updates, experiment.fast_lr) if num_updates else []
    settings |= {"discount": experiment.discount, "gae_lambda": experiment.gae_lambda}
    settings |= {"region": build.trust_region(experiment), "hessian_product": experiment.hessian_product}
    try:
        return adapt_to_goals(policy, vector, goals, step_sizes, **settings)
    finally:
        vector.close()
