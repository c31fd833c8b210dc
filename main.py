"""Meta-trains and tests MAML; the code of this command is in maml_tf/supervised/command_line.py."""

import sys

from maml_tf.runs.boundary import while_loading

if __name__ == "__main__":
    while_loading()

# isort: split

from maml_tf.supervised.command_line import experiments, main, parse

__all__ = ["experiments", "main", "parse"]

if __name__ == "__main__":
    sys.exit(main(sys.argv))
