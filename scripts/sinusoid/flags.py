"""What the commands of section 5.1 share; no TensorFlow here, so that --help need not wait for it."""

import argparse

from scripts import command


def parser(name, description) -> argparse.ArgumentParser:
    """A parser with the flags that say which runs to take.

    Args:
        name: of the script.
        description: its docstring.
    """
    parser = command.parser(name, description)
    parser.add_argument("--logdir", help="folder of the runs, as given to main.py; default logs/sinusoid")
    parser.add_argument(
        "--seed", type=int, action="append", help="of a MAML run; may be repeated; default: all finished"
    )
    parser.add_argument("--iterations", type=int, default=70_000, help="of training; default the paper's 70000")
    return parser
