"""Downloads Omniglot if it is missing, and decodes it into the cache that training reads.

python -m scripts.prepare_omniglot --data_dir=data/omniglot
"""

import argparse
import sys

from data_generators.errors import UserError
from data_generators.omniglot import BASE_URL, load_omniglot


def main(arguments: list[str] | None = None) -> int:
    """Prepares the data and prints what they hold; returns the exit code, 2 for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="data/omniglot", help="the folder that holds, or is to hold, Omniglot")
    parser.add_argument("--base_url", default=BASE_URL, help="where to download the two zips from")
    flags = parser.parse_args(arguments)
    try:
        splits = load_omniglot(flags.data_dir, base_url=flags.base_url)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for split, data in splits.items():
        print(f"{split}: {data.num_classes} characters, {data.lengths.sum()} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
