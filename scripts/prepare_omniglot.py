"""Downloads Omniglot if it is missing, and decodes it into the cache that training reads.

python -m scripts.prepare_omniglot --data_dir=data/omniglot
"""

import sys

from data_generators.omniglot import BASE_URL, load_omniglot
from scripts import command


def main(arguments: list[str] | None = None) -> int:
    """Prepares the data and prints what they hold; returns the exit code, 2 for a user error."""
    parser = command.parser("prepare_omniglot", __doc__)
    parser.add_argument("--data_dir", default="data/omniglot", help="the folder that holds, or is to hold, Omniglot")
    parser.add_argument("--base_url", default=BASE_URL, help="where to download the two zips from")
    return command.guarded(
        lambda: _run(parser.parse_args(arguments)), interrupted="interrupted; run the same command again to resume"
    )


def _run(flags):
    for split, data in load_omniglot(flags.data_dir, base_url=flags.base_url).items():
        print(f"{split}: {data.num_classes} characters, {data.lengths.sum()} images")


if __name__ == "__main__":
    sys.exit(main())
