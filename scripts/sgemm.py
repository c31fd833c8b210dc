"""The former name of scripts.flops, which still works in this release."""

import sys

from maml_tf.runs.flags import Flags, command
from scripts import flops


def main(arguments: list[str] | None = None) -> int:
    """Runs scripts.flops; returns its exit code."""
    return command(flops.__doc__, flops.define, run, arguments)


def run(flags: Flags) -> int | None:
    """Prints the new name, and runs scripts.flops."""
    print("scripts.sgemm is now called scripts.flops: use that name", file=sys.stderr)
    return flops.run(flags)


if __name__ == "__main__":
    sys.exit(main())
