"""Draws the returns during the meta-training of policies by scripts.train_rl, with their numbers in a csv beside it.

python -m scripts.plot_rl --env=point_navigation --seeds=0,1,2

Writes <env>_training.csv and .png into the folder of the run, or for several seeds into the folder above; --out names
another folder, or a .png or .pdf. For 2D navigation the picture also shows the curve of the original code. For returns
after adaptation, see scripts.evaluate_rl.
"""

import sys

from data_generators.errors import UserError
from maml_tf.runs import style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl.experiment import RLExperiment


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.settings(RLExperiment)
    flags.string("logdir", None, "folder of the runs, which are in its subfolder <env>; default: logs")
    flags.string("seeds", None, "seeds of the runs, such as 0,1,2; default: that of --seed")
    flags.exclusive("seed", "seeds", "both name seeds")
    flags.string("name", None, "name of the files, in place of <env>")
    style.define(flags, "that of the run, or the one above it for several seeds")


def run(flags: Flags) -> None:
    """Writes the picture."""
    given = flags.given(RLExperiment)
    experiments = [RLExperiment.of(**given | {"seed": seed}) for seed in _seeds(flags)]
    style.check(flags)
    with quiet_import():
        from rl.build import env_folder, run_folder
        from rl.figures import LEARNING
        from rl.training import PROGRESS

    rows = LEARNING.numbers(experiments, flags.logdir)
    folder, *others = (run_folder(experiment, flags.logdir) for experiment in experiments)
    own = [] if experiments[0].is_maml else [experiments[0].baseline]
    name = f"{flags.name or '_'.join([env_folder(experiments[0].env), *own])}_training"
    reads = [run / PROGRESS for run in (folder, *others)]
    (path,) = style.paths(flags, [name], folder.parent if others else folder, reads)
    style.write(path, rows, LEARNING.draw, LEARNING.size)


def _seeds(flags):
    if flags.seeds is None:
        return [flags.seed]
    try:
        return list(dict.fromkeys(int(seed) for seed in flags.seeds.split(",")))
    except ValueError as error:
        raise UserError(f"--seeds must be integers with commas between them, not {flags.seeds!r}") from error


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
