"""Evaluates policies of scripts.train_rl on the 40 published goals: returns after 0, 1, ... updates.

python -m scripts.evaluate_rl --env=point_navigation
python -m scripts.evaluate_rl --env=point_navigation --policy=maml --update=trpo

Give the flags of the MAML training. The latest checkpoint is evaluated unless --test_iter or --best names another. The
baselines, which --policy names and not --baseline, have the paper's settings, with the same network, horizon and seed.
A policy that was not trained is left out with a note of the command that trains it; if --policy names it, that is an
error.

Writes, into <logdir>/<env> or the folder --out, <env>_returns.csv and .png (return against gradient steps), and for 2D
navigation <env>_trajectories.csv and .png; with --update=trpo, <env>_trpo_returns.csv and so on.
"""

from data_generators.errors import UserError
from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl import envs
from rl.experiment import POLICIES, RLExperiment


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.settings(RLExperiment)
    flags.string("logdir", None, "folder of the runs, which are in its subfolder <env>; default: logs")
    flags.several("policy", POLICIES, "policies to evaluate; default: all that were trained")
    flags.choice("update", "vpg", ["vpg", "trpo"], "a plain gradient step, or a TRPO step")
    flags.integer(
        "num_updates", None, "updates of the adaptation; default: as many as published, 4 or 3", least=1, most=1000
    )
    trajectories = "trajectories per goal and update; default: the original's, 20 or 40"
    flags.integer("trajectories", None, trajectories, least=1, most=100_000)
    flags.integer("test_iter", None, "iteration of the MAML checkpoint; default: the latest")
    flags.boolean("best", False, "take MAML's policy with the best training return")
    flags.exclusive("best", "test_iter", "name different checkpoints")
    flags.string("name", None, "name of the files, in place of <env>")
    style.define(flags, "<logdir>/<env>, which the runs share")


def run(flags: Flags) -> None:
    """Evaluates."""
    if flags.baseline in POLICIES and flags.baseline != "maml":
        raise UserError(
            f"--baseline={flags.baseline} is a flag of the training: give --policy={flags.baseline} in its place, and "
            "the other flags as the MAML run has them"
        )
    experiment = RLExperiment.of(**flags.given(RLExperiment))
    if flags.update == "trpo" and experiment.adapt != "all":
        raise UserError("--update=trpo changes all parameters: leave it out for a policy of --adapt=head")
    what = ["returns", "trajectories"] if envs.find(experiment.env).draws_trajectories else ["returns"]
    style.check(flags, len(what))
    with quiet_import():
        from maml_tf.runs import process
        from rl.build import env_folder, run_folder
        from rl.evaluation import evaluate, restore_policies
        from rl.figures import RETURNS, TRAJECTORIES, return_table

    process.configure(process.TASKS_SIDE_BY_SIDE)
    required = bool(flags.policy)
    policies = restore_policies(
        experiment,
        flags.policy or POLICIES,
        logdir=flags.logdir,
        iteration=flags.test_iter,
        best=flags.best,
        required=required,
    )
    name = (flags.name or env_folder(experiment.env)) + ("" if flags.update == "vpg" else f"_{flags.update}")
    returns, *trajectories = style.paths(
        flags, [f"{name}_{shown}" for shown in what], run_folder(experiment, flags.logdir).parent
    )
    adaptations = evaluate(
        experiment,
        policies,
        update=flags.update,
        num_updates=flags.num_updates,
        trajectories=flags.trajectories,
        required=required,
    )
    rows = RETURNS.numbers(adaptations, flags.update, experiment.env)
    print(*return_table(rows), sep="\n")
    style.write(returns, rows, RETURNS.draw, RETURNS.size)
    if trajectories and "maml" in adaptations:
        rows = TRAJECTORIES.numbers(adaptations["maml"], envs.test_goals(experiment.env))
        style.write(trajectories[0], rows, TRAJECTORIES.draw, TRAJECTORIES.size)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)
