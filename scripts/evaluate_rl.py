"""Evaluates policies; the code of this command is in rl/commands/evaluate.py."""

import sys

from rl.commands.evaluate import define, main, run

__all__ = ["define", "main", "run"]

if __name__ == "__main__":
    sys.exit(main())
