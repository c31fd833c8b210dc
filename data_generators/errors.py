"""The one exception that means a user error: show a sentence and no traceback."""

import sysconfig
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


class UserError(ValueError):
    """A bad flag, missing or malformed data, or a wrong checkpoint.

    Its message is one sentence that says what is wrong and what to do. Entry points print it and exit with code 2.
    """


def listed(names: Sequence[str], most: int = 10) -> str:
    """The names for a sentence, no more than `most` of them."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def importing(load: Callable[[str], Result], what: str, purpose: str) -> Result:
    """Imports something of the user's; an error there is the user's.

    Args:
        load: imports what it is given.
        what: name of what to import.
        purpose: what it is for, with which the message begins.

    Raises:
        UserError: it cannot be imported; the message names the line in the user's file.
    """
    try:
        return load(what)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:500]
        raise UserError(
            f"{purpose}, since {what} cannot be imported: {type(error).__name__}: {reason}{_place(error)}"
        ) from error


def _place(error):
    """Where in the user's files an error came up: the innermost line that is not of a library."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})" if "line " not in str(error) else f" ({error.filename})"
    libraries = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not f.filename.startswith((*libraries, "<")) and f.filename != __file__]
    return f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""
