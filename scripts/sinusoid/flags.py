"""What the commands of section 5.1 share; no TensorFlow here, so that --help need not wait for it."""

import argparse
import sys

from data_generators.errors import UserError


def parser(name, description) -> argparse.ArgumentParser:
    """A parser with the flags that say which runs to take.

    Args:
        name: of the script.
        description: its docstring.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", help="folder of the runs, as given to main.py; default logs/sinusoid")
    parser.add_argument(
        "--seed", type=int, action="append", help="of a MAML run; may be repeated; default: all finished"
    )
    parser.add_argument("--iterations", type=int, default=70_000, help="of training; default the paper's 70000")
    return parser


def guarded(command, flags) -> int:
    """Calls command(flags); returns the exit code, 2 for a mistake that the user can mend."""
    try:
        command(flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
