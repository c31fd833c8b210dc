"""Keeps TensorFlow from telling users what they can do nothing about. Imports no TensorFlow itself."""

import contextlib
import os
import tempfile

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextlib.contextmanager
def quiet_import():
    """While entered, holds back what TensorFlow's libraries write as they load; afterwards they log fatal errors only.

    Without it, every command on a machine without a GPU begins with "Could not find cuda drivers" and "failed call to
    cuInit". Where TF_CPP_MIN_LOG_LEVEL is set in the environment, it holds, and nothing is held back. If the import
    fails, what was held back is shown.
    """
    if _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "3"
    # The level comes too late for what the libraries say while they load, so the terminal is cut off for so long.
    try:
        terminal = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with _file() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            with contextlib.suppress(OSError):  # nobody may be there to read it
                os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _file():
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no disk has room
        return open(os.devnull, "w+b")
