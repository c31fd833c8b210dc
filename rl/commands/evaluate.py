"""Evaluates policies of scripts.train_rl on the 40 published goals: returns after 0, 1, ... updates.

python -m scripts.evaluate_rl --env=point_navigation
python -m scripts.evaluate_rl --env=point_navigation --policy=maml --update=trpo

Give the flags of the MAML training. The latest checkpoint is evaluated unless --test_iter or --best names another. The
baselines that are evaluated beside it have the paper's settings, with the same network, horizon and seed. --policy
chooses the policies. A policy that was not trained is left out, and the command that trains it is printed; if --policy
names it, that is an error.

With --baseline, give the flags of that baseline's training: it is evaluated alone, and may have any settings.

Writes files into <logdir>/<env> or the folder --out: <env>_returns.csv and .png (return against gradient steps), and
for 2D navigation <env>_trajectories.csv and .png. With --update=trpo, their names begin with <env>_trpo; with
--baseline=oracle, with <env>_oracle. Files of that name are replaced, also those of another seed or checkpoint: --name
keeps both.
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
    how = "a plain gradient step, or a TRPO step by --meta_step_size and --hessian_product"
    flags.choice("update", "vpg", ["vpg", "trpo"], how)
    flags.integer(
        "num_updates", None, "updates of the adaptation; default: as many as published, 4 or 3", least=1, most=1000
    )
    trajectories = "trajectories per goal and update; default: the original's, 20 or 40"
    flags.integer("trajectories", None, trajectories, least=1, most=100_000)
    flags.integer("test_iter", None, "iteration of the checkpoint; default: the latest")
    flags.boolean("best", False, "take the policy with the best training return")
    flags.exclusive("best", "test_iter", "name different checkpoints")
    flags.string("name", None, "name of the files, in place of <env>")
    style.define(flags, "<logdir>/<env>, which the runs share")


def run(flags: Flags) -> None:
    """Evaluates the policies, and writes tables and pictures."""
    experiment = RLExperiment.of(**flags.given(RLExperiment))
    if not experiment.is_maml and flags.policy:
        raise UserError(
            f"--baseline={experiment.baseline} evaluates that baseline alone, by the flags of its training: leave "
            "--policy out; or leave --baseline out and give the flags of the MAML run"
        )
    if experiment.is_maml and flags.policy and "maml" not in flags.policy:
        for name in ("best", "test_iter"):
            if getattr(flags, name) not in (None, False):
                raise UserError(
                    f"--{name} chooses a checkpoint of MAML, which --policy leaves out: for one of a baseline give "
                    "--baseline and the flags of its training"
                )
    if flags.update == "trpo" and experiment.adapt != "all":
        raise UserError("--update=trpo changes all parameters: leave it out for a policy of --adapt=head")
    if experiment.baseline == "oracle" and (flags.update != "vpg" or flags.num_updates is not None):
        raise UserError("an oracle knows the goal and does not adapt: leave out --update and --num_updates")
    drawn = experiment.is_maml and envs.find(experiment.env).draws_trajectories
    what = ["returns", "trajectories"] if drawn else ["returns"]
    style.check(flags, len(what))
    with quiet_import():
        from maml_tf.runs import process
        from rl.build import env_folder, run_folder
        from rl.evaluation import evaluate, restore_policies
        from rl.figures import RETURNS, TRAJECTORIES, return_table

    process.configure(process.TASKS_SIDE_BY_SIDE)
    own = [] if experiment.is_maml else [experiment.baseline]
    named = flags.policy or own
    policies = restore_policies(
        experiment,
        named or POLICIES,
        logdir=flags.logdir,
        iteration=flags.test_iter,
        best=flags.best,
        required=bool(named),
    )
    name = flags.name or "_".join([env_folder(experiment.env), *own])
    name += "" if flags.update == "vpg" else f"_{flags.update}"
    returns, *trajectories = style.paths(
        flags, [f"{name}_{shown}" for shown in what], run_folder(experiment, flags.logdir).parent
    )
    if (earlier := returns.with_suffix(".csv")).exists():
        print(f"The earlier {earlier} will be replaced: another --name keeps both")
    adaptations = evaluate(
        experiment,
        policies,
        update=flags.update,
        num_updates=flags.num_updates,
        trajectories=flags.trajectories,
        required=bool(named),
    )
    rows = RETURNS.numbers(adaptations, flags.update, experiment.env)
    print(*return_table(rows), sep="\n")
    published_horizon = envs.find(experiment.env).horizon
    if experiment.horizon != published_horizon and any(row["published_mean"] is not None for row in rows):
        print(f"Returns are sums over steps: published ones over {published_horizon}, ours over {experiment.horizon}")
    style.write(returns, rows, RETURNS.draw, RETURNS.size)
    if trajectories and "maml" in adaptations:
        rows = TRAJECTORIES.numbers(adaptations["maml"], envs.test_goals(experiment.env))
        style.write(trajectories[0], rows, TRAJECTORIES.draw, TRAJECTORIES.size)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)
