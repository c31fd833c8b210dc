"""Draws the returns during the meta-training of policies by scripts.train_rl, with their numbers in a csv beside it.

python -m scripts.plot_rl --env=point_navigation --seeds=0,1,2

Writes <env>_training.csv and .png into the run's folder, for several seeds into the one above it, which they share;
--out names another folder, or a .png or .pdf. For 2D navigation the curve of the original code is drawn too. The
pictures of the returns after adaptation are those of scripts.test_rl.
"""

import sys

from data_generators.errors import UserError
from maml_tf.runs.process import quiet_import
from scripts.command import guarded
from scripts.figures import style
from scripts.rl import flags as rl_flags


def main(arguments: list[str] | None = None) -> int:
    """Writes the picture; returns the exit code, 2 for a mistake that the user can mend."""
    parser = rl_flags.parser("plot_rl", __doc__)
    parser.add_argument("--seeds", help="of the runs, such as 0,1,2; default, that of --seed")
    parser.add_argument("--name", help="of the files, in place of <env>")
    style.add(parser, "that of the run, or the one above it for several seeds")
    return guarded(lambda: _run(parser.parse_args(arguments)))


def _run(flags):
    experiment = rl_flags.experiment_of(flags)
    experiments = [rl_flags.experiment_of(flags, seed=seed) for seed in _seeds(flags, experiment)]
    style.check(flags)
    with quiet_import():  # only now, so that --help and mistakes need not wait for TensorFlow
        from rl.build import env_folder, run_folder
        from scripts.figures import rl_learning

    rows = rl_learning.numbers(experiments, flags.logdir)
    folder = run_folder(experiments[0], flags.logdir)
    name = f"{flags.name or env_folder(experiment.env)}_training"
    (path,) = style.paths(flags, [name], folder if len(experiments) == 1 else folder.parent)
    print(style.write_csv(path.with_suffix(".csv"), rows))
    print(style.save(style.make(rl_learning.draw, rows, *rl_learning.SIZE), path))


def _seeds(flags, experiment):
    if flags.seeds is None:
        return [experiment.seed]
    try:
        return list(dict.fromkeys(int(seed) for seed in flags.seeds.split(",")))
    except ValueError as error:
        raise UserError(f"--seeds must be integers with commas between them, not {flags.seeds!r}") from error


if __name__ == "__main__":
    sys.exit(main())
