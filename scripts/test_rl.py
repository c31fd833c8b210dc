"""The former name of scripts.evaluate_rl, which still works in this release."""

import sys

from scripts import evaluate_rl


def main(arguments: list[str] | None = None) -> int:
    """Runs scripts.evaluate_rl; returns its exit code."""
    print("scripts.test_rl is now called scripts.evaluate_rl: use that name", file=sys.stderr)
    return evaluate_rl.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
