"""The former name of scripts.evaluate_rl, which still works in this release."""

import sys

from maml_tf.runs.flags import Flags, command
from rl.commands import evaluate


def main(arguments: list[str] | None = None) -> int:
    """Runs scripts.evaluate_rl; returns its exit code."""
    return command(evaluate.__doc__, evaluate.define, run, arguments)


def run(flags: Flags) -> int | None:
    """Prints the new name, and runs scripts.evaluate_rl."""
    print("scripts.test_rl is now called scripts.evaluate_rl: use that name", file=sys.stderr)
    return evaluate.run(flags)


if __name__ == "__main__":
    sys.exit(main())
