"""Meta-trains a policy; the code of this command is in rl/commands/train.py."""

import sys

from rl.commands.train import define, main, run

__all__ = ["define", "main", "run"]

if __name__ == "__main__":
    sys.exit(main())
