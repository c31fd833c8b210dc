"""User errors: their exception, and the sentences that describe other errors which a user can fix."""

import errno
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")

_OF_FILES = "ENOENT EEXIST EACCES EPERM EROFS ENOSPC EDQUOT EFBIG EISDIR ENOTDIR EIO ENAMETOOLONG EMFILE ENFILE ELOOP"
_ERRNO_TEXTS = tuple(os.strerror(getattr(errno, name)) for name in _OF_FILES.split() if hasattr(errno, name))

# Beginnings of the lines that TensorFlow writes before the reason, if an error comes from within a graph.
_OF_DEVELOPERS = ("Graph execution error:", "Detected at node", "<stack traces unavailable>", " ", "\t")


class UserError(ValueError):
    """A bad flag, missing or malformed data, or a wrong checkpoint.

    Its message is one sentence that says what is wrong and what to do. Entry points print it and exit with `exit_code`.
    """

    exit_code = 2


_MOST_LISTED = 10


def listed(names: Sequence[str]) -> str:
    """Lists names for a sentence, ten at most."""
    more = f" and {len(names) - _MOST_LISTED:,} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def user_sentence(error: BaseException) -> str | None:
    """Describes a user error in one sentence; returns None for a bug of this project, which needs its traceback.

    Problems with files, names and memory are user errors, whether Python or TensorFlow reports them.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, ChildProcessError):
        names = [repr(name) if isinstance(name, int) else os.fsdecode(name) for name in _names(error)]
        return ": ".join([*([" -> ".join(names)] if names else []), error.strerror or str(error)])
    if isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        remedy = "use another name" if isinstance(error.object, str) else "save it as UTF-8"
        return f"{_shortened(error.object)} is not valid {error.encoding.upper()} ({error.reason}): {remedy}"
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "the name of a file holds a NUL byte: use another name"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({first_line(error)}): use smaller sizes"
    return _of_tensorflow(error)


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ends with this error: 130 after Ctrl-C, 1 for a bug, else the error's or 2."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1 if user_sentence(error) is None else getattr(error, "exit_code", UserError.exit_code)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without what TensorFlow adds to it for its own developers."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(_OF_DEVELOPERS)]
    text = re.sub(r"\{\{.*?\}\}|\s*\[Op:.*?\]", "", lines[0] if lines else "").strip(" ;")
    return text or type(error).__name__


def _of_tensorflow(error):
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)  # not loaded: not its error
    if errors is None or not isinstance(error, errors.OpError):
        return None
    text = first_line(error)
    if any(reason in text for reason in _ERRNO_TEXTS) or isinstance(error, errors.DataLossError):
        return text
    if isinstance(error, errors.ResourceExhaustedError):
        return f"there is not enough memory ({text}): use smaller sizes"
    return None


def _names(error):
    return [name for name in (error.filename, error.filename2) if name is not None]


def _shortened(name):
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}..."


def importing(load: Callable[[str], Result], what: str, purpose: str) -> Result:
    """Imports code of the user; an error in that code is a user error.

    Args:
        load: function that imports what its argument names.
        what: name of the code to import.
        purpose: beginning of the message, which says what the code is needed for.

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
    """The place in the user's files where an error arose: the innermost line that is not in a library."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})" if "line " not in str(error) else f" ({error.filename})"
    libraries = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not f.filename.startswith((*libraries, "<")) and f.filename != __file__]
    return f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""
