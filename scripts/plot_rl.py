"""Draws the returns during the meta-training of policies by scripts.train_rl, with their numbers in a csv beside it.

python -m scripts.plot_rl --env=point_navigation --seeds=0,1,2

Writes <env>_training.csv and .png into --out, or to the .png or .pdf that --out names. For 2D navigation the curve of
the original code is drawn too. The pictures of the returns after adaptation are those of scripts.test_rl.
"""

import dataclasses
import sys

from data_generators.errors import UserError
from maml_tf.quiet import quiet_import
from scripts import picture_flags
from scripts.command import guarded
from scripts.rl import flags as rl_flags


def main(arguments: list[str] | None = None) -> int:
    """Writes the picture; returns the exit code, 2 for a mistake that the user can mend."""
    parser = rl_flags.parser("plot_rl", __doc__)
    parser.add_argument("--seeds", help="of the runs, such as 0,1,2; default, that of --seed")
    picture_flags.add(parser)
    return guarded(lambda: _run(parser.parse_args(arguments)))


def _run(flags):
    experiment = rl_flags.experiment_of(flags)
    try:
        seeds = [int(seed) for seed in flags.seeds.split(",")] if flags.seeds else [experiment.seed]
    except ValueError as error:
        raise UserError(f"--seeds must be integers with commas between them, not {flags.seeds!r}") from error
    name = experiment.env.replace(":", "_").replace("/", "_")
    (path,) = picture_flags.paths(flags, [f"{name}_training"])
    experiments = [dataclasses.replace(experiment, seed=seed) for seed in seeds]
    with quiet_import():  # only now, so that --help and mistakes need not wait for TensorFlow
        from scripts import figures
        from scripts.rl import learning

    rows = learning.numbers(experiments, flags.logdir)
    print(figures.write_csv(path.with_suffix(".csv"), rows))
    print(figures.save(figures.make(learning.draw, rows, *learning.SIZE), path))


if __name__ == "__main__":
    sys.exit(main())
