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
_SEED = (2**32 - 1, 2**32 - 1)  # a seed and an iteration that no training uses


@dataclasses.dataclass(frozen=True, eq=False)
class Adaptation:
    """The returns of a policy before and after adaptation.

    returns: [goals, 1 + updates], mean undiscounted return of the trajectories sampled after 0, 1, ... updates.
    trajectories: list of the Trajectories after 0, 1, ... updates, for pictures; None unless they were requested.
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
    """Adapts a policy to each goal separately, and samples trajectories before and after every update.

    An update is one step on the batch just sampled; the linear baseline is fitted to each batch. A gradient step
    changes the parameters that the policy adapts, a TRPO step changes all parameters.

    Args:
        policy: GaussianPolicy; it is left as it is.
        envs: TaskVector from `rl.envs.make_vector`, with as many tasks as there are goals.
        goals: [goals, goal_dim].
        step_sizes: step size of each update; as many updates are made. TRPO uses only their number, not their values.
        update: VPG, the plain gradient step of the original's tests, or TRPO, a step in a trust region.
        discount, gae_lambda: gamma and lambda of the advantages.
        on_batch: function that is called after each batch of samples.
        keep_trajectories: whether the Adaptation holds the trajectories; for ants, that is hundreds of megabytes per
            update.
        region, hessian_product: settings of TRPO's steps, see `TrustRegionUpdate`.

    Returns:
        Adaptation.

    Raises:
        UserError: an observation, a reward or an action is not finite.
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
    """Makes one TRPO step on all parameters for each task separately, in place of a plain gradient step.

    Args:
        policy: GaussianPolicy; it is left as it is.
        region: trpo.TrustRegion.
        hessian_product: see `MAMLTRPO`.
    """

    def __init__(self, policy: GaussianPolicy, region: TrustRegion, hessian_product: str):
        self.policy = policy
        self.learner = MAMLTRPO(policy, region=region, hessian_product=hessian_product)

    def __call__(self, params: Params, samples: Samples, step_size: float | None = None) -> Params:
        """Updates every task; arguments as for `vpg.TaskUpdate`, but step_size is ignored: the trust region decides."""
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
        experiment: RLExperiment of the MAML run; the baselines then have the paper's settings, with the same network,
            horizon and seed. Or RLExperiment of a baseline, which must then be the only one of `names`.
        names: names of policies, from POLICIES.
        logdir: folder of the runs, as for `build.run_folder`.
        iteration, best: which checkpoint of the experiment's own policy to restore, as for `build.load_policy`; for the
            other policies it is the latest.
        required: whether a policy that was not trained is an error; otherwise it is left out.

    Returns:
        dict of GaussianPolicy by name.

    Raises:
        UserError: no policy was trained, a required one was not, or a checkpoint cannot be restored.
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
    """The settings of the policy `name`: those of the run itself, or those of a policy to compare it with."""
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
        policies: dict of GaussianPolicy by name, from `restore_policies`.
        update: as for `adapt_to_goals`.
        num_updates: number of updates; None: as many as in the original. An oracle does not adapt.
        trajectories: number per goal and update; None: as many as in the original.
        required: whether a policy whose numbers do not stay finite is an error; otherwise it is left out. It is always
            an error if no policy is left.

    Returns:
        dict of Adaptation by name. That of MAML holds its trajectories if they are drawn for this environment.

    Raises:
        UserError: an observation, a reward or an action is not finite.
    """
    environment, found, failed = find(experiment.env), {}, None
    for name, policy in policies.items():
        updates = environment.protocol.updates if num_updates is None else num_updates
        updates = 0 if name == "oracle" else updates
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
        except UserError as error:  # its numbers are not finite; the other policies may succeed
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
    """Adapts a policy by the environment's EvaluationProtocol.

    Args:
        experiment: RLExperiment, as for `restore_policies`.
        name: name of the policy, one of POLICIES.
        policy: GaussianPolicy.
        goals: [goals, goal_dim].
        num_updates: number of updates.
        trajectories: number per goal and update; None: that of the protocol.
        settings: update, on_batch and keep_trajectories of `adapt_to_goals`.

    Returns:
        Adaptation.

    Raises:
        UserError: an observation, a reward or an action is not finite.
    """
    protocol = find(experiment.env).protocol
    trajectories = protocol.trajectories if trajectories is None else trajectories
    sizes = len(goals), trajectories, experiment.horizon
    vector = make_vector(experiment.env, *sizes, oracle=name == "oracle")
    step_sizes = protocol.alphas(name, num_updates, experiment.fast_lr) if num_updates else []
    settings |= {"discount": experiment.discount, "gae_lambda": experiment.gae_lambda}
    settings |= {"region": build.trust_region(experiment), "hessian_product": experiment.hessian_product}
    try:
        return adapt_to_goals(policy, vector, goals, step_sizes, **settings)
    finally:
        vector.close()
