"""What the commands of reinforcement learning share; no TensorFlow here, so that --help need not wait for it."""

import argparse
import dataclasses

from data_generators.errors import UserError
from rl.experiment import RLExperiment
from scripts import command

MOST_IN_TESTS = {"num_updates": 1000, "trajectories": 100_000}


def parser(name, description) -> argparse.ArgumentParser:
    """A parser with a flag for every setting of an RLExperiment, and --logdir.

    Args:
        name: of the script.
        description: its docstring.
    """
    parser = command.parser(name, description, allow_abbrev=False)
    for field in dataclasses.fields(RLExperiment):
        parser.add_argument(f"--{field.name}", type=field.type, help=field.metadata["help"])
    parser.add_argument("--logdir", help="the runs are in its subfolder <env>; default logs")
    return parser


def experiment_of(flags, **changed) -> RLExperiment:
    """The experiment that the flags describe, with some settings changed.

    Raises:
        UserError: a setting is out of range, or does not fit the others.
    """
    given = {field.name: getattr(flags, field.name) for field in dataclasses.fields(RLExperiment)}
    return RLExperiment.of(**(given | changed))


def refuse_two_checkpoints(flags):
    """Raises UserError if both --best and --test_iter say which checkpoint to take."""
    if flags.best and flags.test_iter is not None:
        raise UserError("--best and --test_iter name different checkpoints: give one of them")


def boolean(text):
    """The value of a flag like --resume=False."""
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]
