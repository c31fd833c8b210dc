"""Downloads Omniglot if it is missing, and decodes it into the cache that training reads.

python -m scripts.prepare_omniglot --data_dir=data/omniglot
"""

import sys

from data_generators.omniglot import BASE_URL, load_omniglot
from maml_tf.runs.flags import Flags, command


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.string("data_dir", "data/omniglot", "the folder that holds, or is to hold, Omniglot")
    flags.string("base_url", BASE_URL, "where to download the two zips from")


def run(flags: Flags) -> None:
    """Prepares the data and prints what they hold."""
    for split, data in load_omniglot(flags.data_dir, base_url=flags.base_url).items():
        print(f"{split}: {data.num_classes} characters, {data.lengths.sum()} images")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments, interrupted="interrupted; run the same command again to resume")


if __name__ == "__main__":
    sys.exit(main())
