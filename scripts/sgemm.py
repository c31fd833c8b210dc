"""The former name of scripts.flops, which still works in this release."""

import sys

from scripts import flops


def main(arguments: list[str] | None = None) -> int:
    """Runs scripts.flops; returns its exit code."""
    print("scripts.sgemm is now called scripts.flops: use that name", file=sys.stderr)
    return flops.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
