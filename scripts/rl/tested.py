"""Adapts each policy to the published test goals."""

import dataclasses

from tqdm import tqdm

from rl import envs, trained
from rl.experiments import RLExperiment, test_adaptation
from rl.testing import adapt_to_goals


def goals(experiment):
    """[40, goal_dim] the published test goals.

    Raises:
        UserError: there is no such environment.
    """
    return envs.test_goals(experiment.env)


def adaptations(experiment, flags, policies, required):
    """Restores and adapts policies.

    Args:
        experiment: RLExperiment of the MAML run.
        flags: of `scripts.test_rl`.
        policies: some of "maml", "pretrained", "random" and "oracle".
        required: whether a policy that was not trained is an error; otherwise it is left out.

    Returns:
        dict of testing.Adaptation by policy.

    Raises:
        UserError: none of them was trained, or a checkpoint cannot be restored; see its message.
    """
    test, of_goals, found = test_adaptation(experiment.env), goals(experiment), {}
    trajectories = flags.trajectories or test.trajectories
    updates = flags.num_updates or test.updates
    for name, policy in _restored(experiment, flags, policies, required).items():
        oracle = name == "oracle"
        vector = envs.make_vector(experiment.env, len(of_goals), trajectories, experiment.horizon, oracle=oracle)
        step_sizes = [] if oracle else test.alphas(experiment, name, updates)
        estimates = {"discount": experiment.discount, "gae_lambda": experiment.gae_lambda}
        with tqdm(total=len(step_sizes) + 1, desc=f"Testing {name}", unit="batch", disable=None) as bar:
            found[name] = adapt_to_goals(
                policy, vector, of_goals, step_sizes, flags.update, progress=bar.update, **estimates
            )
    return found


def _restored(experiment, flags, policies, required):
    restored, missing = {}, []
    for name in policies:
        try:
            restored[name] = _restore(_experiment(experiment, name), name, flags)
        except trained.NotTrained as error:
            if required:
                raise
            missing.append(error)
            print(f"{name} is left out: {error}")
    if missing and restored.keys() <= {"random"}:
        raise missing[0]
    return restored


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
        return trained.new_policy(experiment)
    if name == "maml":
        policy, iteration = trained.load_policy(experiment, flags.logdir, flags.test_iter, flags.best)
    else:
        policy, iteration = trained.load_policy(experiment, flags.logdir)
    print(f"{name}: the policy of iteration {iteration}")
    return policy
