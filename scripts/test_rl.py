"""Tests policies of scripts.train_rl on the 40 published goals: returns after 0, 1, ... updates, beside the published.

python -m scripts.test_rl --env=point_navigation
python -m scripts.test_rl --env=point_navigation --policy=maml --update=trpo

The flags of training say which MAML run to take, its latest checkpoint unless --test_iter or --best says otherwise.
Baselines are those of the paper's settings, with the same network, horizon and seed. A policy that was never trained
is left out, with the command that trains it, unless it was asked for by --policy.

Writes, into <logdir>/<env> or the folder --out, <env>_returns.csv and .png (return against gradient steps), and for 2D
navigation <env>_trajectories.csv and .png; with --update=trpo, <env>_trpo_returns.csv and so on.
"""

import sys
from pathlib import Path

from data_generators.files import check_writable
from maml_tf.runs.process import quiet_import
from rl import envs
from rl.experiment import POLICIES
from scripts import command
from scripts.figures import style
from scripts.rl import flags as rl_flags


def main(arguments: list[str] | None = None) -> int:
    """Tests; returns the exit code, 2 for a mistake that the user can mend."""
    parser = rl_flags.parser("test_rl", __doc__)
    parser.add_argument("--policy", action="append", choices=POLICIES, help="may be repeated; default: all trained")
    parser.add_argument("--update", choices=["vpg", "trpo"], default="vpg", help="a plain gradient or a TRPO step")
    parser.add_argument("--num_updates", type=int, help="default: as many as published, 4 or 3")
    parser.add_argument("--trajectories", type=int, help="per goal and update; default the original's, 20 or 40")
    parser.add_argument("--test_iter", type=int, help="iteration of the MAML checkpoint; default, the latest")
    parser.add_argument("--best", action="store_true", help="take MAML's policy with the best training return")
    parser.add_argument("--name", help="of the files, in place of <env>")
    parser.add_argument("--out", type=Path, help="folder; default, <logdir>/<env>, which the runs share")
    parser.add_argument("--format", choices=style.FORMATS, default="png")
    return command.guarded(lambda: _run(parser.parse_args(arguments)))


def _run(flags):
    experiment = rl_flags.experiment_of(flags, baseline="maml", num_grad_updates=flags.num_grad_updates)
    command.check_counts(flags, rl_flags.MOST_IN_TESTS)
    rl_flags.refuse_two_checkpoints(flags)
    with quiet_import():  # only now, so that --help and mistakes need not wait for TensorFlow
        from maml_tf.runs import process
        from rl.build import env_folder, run_folder
        from rl.evaluation import evaluate, restore_policies
        from scripts.figures import rl_returns, rl_trajectories

    process.configure(process.TASKS_SIDE_BY_SIDE)
    out = flags.out or run_folder(experiment, flags.logdir).parent
    name = (flags.name or env_folder(experiment.env)) + ("" if flags.update == "vpg" else f"_{flags.update}")
    shown = ["returns", "trajectories"] if envs.find(experiment.env).draws_trajectories else ["returns"]
    paths = {what: out / f"{name}_{what}.{flags.format}" for what in shown}
    required = bool(flags.policy)
    policies = restore_policies(
        experiment,
        flags.policy or POLICIES,
        logdir=flags.logdir,
        iteration=flags.test_iter,
        best=flags.best,
        required=required,
    )
    for path in paths.values():  # now rather than after minutes of sampling
        for file in path, path.with_suffix(".csv"):
            check_writable(file)
    adaptations = evaluate(
        experiment,
        policies,
        update=flags.update,
        num_updates=flags.num_updates,
        trajectories=flags.trajectories,
        required=required,
    )
    rows = rl_returns.with_published(rl_returns.rows_of(adaptations, flags.update), experiment.env)
    print(*rl_returns.table(rows), sep="\n")
    _write(style, rl_returns, rows, paths["returns"])
    if "trajectories" in paths and "maml" in adaptations:
        rows = rl_trajectories.numbers(adaptations["maml"], envs.test_goals(experiment.env))
        _write(style, rl_trajectories, rows, paths["trajectories"])


def _write(figures, picture, rows, path):
    print(style.write_csv(path.with_suffix(".csv"), rows))
    print(style.save(style.make(picture.draw, rows, *picture.SIZE), path))


if __name__ == "__main__":
    sys.exit(main())
