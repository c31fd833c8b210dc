"""Adapts each policy to the published test goals."""

import dataclasses

from data_generators.errors import UserError
from data_generators.progress import progress
from rl import build, envs
from rl.evaluation import adapt_to_goals
from rl.experiment import RLExperiment, test_adaptation


def goals(experiment):
    """[40, goal_dim] the published test goals.

    Raises:
        UserError: there is no such environment.
    """
    return envs.test_goals(experiment.env)


def restored(experiment, flags, policies, required):
    """Restores policies.

    Args:
        experiment: RLExperiment of the MAML run.
        flags: of `scripts.test_rl`.
        policies: some of "maml", "pretrained", "random" and "oracle".
        required: whether a policy that was not trained is an error; otherwise it is left out.

    Returns:
        dict of GaussianPolicy by name.

    Raises:
        UserError: none of them was trained, or a checkpoint cannot be restored.
    """
    found, missing = {}, []
    for name in policies:
        try:
            found[name] = _restore(_experiment(experiment, name), name, flags)
        except build.NotTrained as error:
            if required:
                raise
            missing.append(error)
            print(f"{name} is left out: {error}")
    if missing and found.keys() <= {"random"}:
        raise missing[0]
    return found


def adaptations(experiment, flags, policies, required):
    """Adapts policies.

    Args:
        experiment: RLExperiment of the MAML run.
        flags: of `scripts.test_rl`.
        policies: of `restored`.
        required: whether a policy whose numbers become infinite is an error.

    Returns:
        dict of testing.Adaptation by policy. One whose numbers become infinite is otherwise left out, unless it is all.

    Raises:
        UserError: numbers are not finite.
    """
    found, failed = {}, None
    for name, policy in policies.items():
        try:
            found[name] = _adapted(experiment, flags, name, policy)
        except UserError as error:  # its numbers are not finite: the others may do better
            if required:
                raise
            failed = error
            print(f"{name} is left out: {error}")
    if failed and not found:
        raise failed
    return found


def _adapted(experiment, flags, name, policy):
    test, of_goals = test_adaptation(experiment.env), goals(experiment)
    updates = 0 if name == "oracle" else flags.num_updates or test.updates
    trajectories = flags.trajectories or test.trajectories
    sizes = len(of_goals), trajectories, experiment.horizon
    vector = envs.make_vector(experiment.env, *sizes, oracle=name == "oracle")
    step_sizes = test.alphas(experiment, name, updates) if updates else []
    with progress(updates + 1, f"Testing {name}", "batch") as bar:
        return adapt_to_goals(
            policy,
            vector,
            of_goals,
            step_sizes,
            flags.update,
            experiment.discount,
            experiment.gae_lambda,
            progress=bar.update,
            keep_paths=name == "maml" and experiment.env == "point_navigation",  # whose trajectories are drawn
        )


def _experiment(experiment, name):
    if name == "maml":
        return experiment
    if name == "random":
        # As in the original, whose random policy for 2D navigation is a tanh network.
        point = experiment.env == "point_navigation"
        return dataclasses.replace(experiment, nonlinearity="tanh") if point else experiment
    network = {key: getattr(experiment, key) for key in ("env", "seed", "hidden_size", "nonlinearity", "horizon")}
    return RLExperiment.of(baseline=name, **network)


def _restore(experiment, name, flags):
    if name == "random":
        return build.new_policy(experiment)
    if name == "maml":
        policy, iteration = build.load_policy(experiment, flags.logdir, flags.test_iter, flags.best)
    else:
        policy, iteration = build.load_policy(experiment, flags.logdir)
    print(f"{name}: the policy of iteration {iteration}")
    return policy
