"""The one exception that means: the user can mend this, so show a sentence and no traceback."""

from collections.abc import Sequence


class UserError(ValueError):
    """A bad flag, missing or malformed data, or a wrong checkpoint.

    Its message is one sentence that says what is wrong and what to do. Entry points print it and exit with code 2.
    """


def listed(names: Sequence[str], most: int = 10) -> str:
    """The names for a sentence, no more than `most` of them."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
