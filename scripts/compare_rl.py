"""Draws the returns after the inner update of several trainings of scripts.train_rl, one line each, with their numbers.

python -m scripts.compare_rl --line="ReLU, seed 1=logs/half_cheetah_direction/<run>" --line="original, seed 1=file.csv"

A line is a name and, after a "=", the folder of a run, or a csv with the columns iteration and return_after. Lines have
the same colour if their names are the same up to the first comma; "original" is black. The number in brackets after a
name is the number of iterations so far. Writes <name>_training.csv and .png into the folder logs, or into --out.
"""

import functools
import sys
from pathlib import Path

from data_generators.errors import UserError
from maml_tf.runs import published, style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl import envs


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.several("line", Path, "name=folder or csv")
    known = [name for name, environment in envs.ENVIRONMENTS.items() if environment.published]
    flags.choice("env", None, known, "environment whose published return after one update is drawn too; default: none")
    flags.string("name", "runs", "name of the files")
    style.define(flags, "logs")


def run(flags: Flags) -> None:
    """Writes the picture."""
    if not flags.line:
        raise UserError("--line is missing: --help says what it is")
    style.check(flags)
    with quiet_import():
        from scripts.figures import rl_seeds

    lines = rl_seeds.files([str(line) for line in flags.line])
    rows = rl_seeds.numbers(lines)
    (path,) = style.paths(flags, [f"{flags.name}_training"], "logs", reads=lines.values())
    level = flags.env and published.published_returns(envs.find(flags.env).published)["maml"].mean[1]
    style.write(path, rows, functools.partial(rl_seeds.draw, level=level), rl_seeds.SIZE)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
