"""Judges a command with malformed input: it must be refused in one sentence, or do the right thing."""

import re

from tests.stress.outcomes import differing

REFUSED, RIGHT = "refused", "accepted rightly"
SAID, UNNOTICEABLE = "accepted, and said", "nobody could notice"
VERDICTS = (REFUSED, RIGHT, SAID, UNNOTICEABLE)

# argparse writes the name of the script before "error: ".
_ERROR = re.compile(r"(python -m scripts\.\w+: )?error: \S.*")


def refused_well(result):
    """Whether the exit code is 2 and stderr ends with its only sentence that begins with "error: "."""
    lines = result.stderr.splitlines()
    return result.returncode == 2 and bool(lines) and bool(_ERROR.fullmatch(lines[-1])) and _sentences(lines) == 1


def verdict(result, found, whole, said=None, unnoticeable=False):
    """Gives the verdict on a command.

    Args:
        result: the command's Result.
        found, whole: outcomes of the command with this input and with the whole input, see `outcomes.outcome`.
        said: pattern of what the command prints about a difference; None if no difference is right.
        unnoticeable: whether nobody could notice that the input has changed.

    Returns:
        One of VERDICTS, or the name of a fault.
    """
    output = result.stdout + result.stderr
    if "Traceback" in output:
        return "traceback"
    if result.returncode == 2:
        return REFUSED if refused_well(result) else "exit code 2 without one sentence"
    if result.returncode != 0:
        return f"exit code {result.returncode}"
    if not differing(found, whole):
        return RIGHT
    if said and re.search(said, output):
        return SAID
    return UNNOTICEABLE if unnoticeable else "silently wrong"


def _sentences(lines):
    return sum(bool(_ERROR.fullmatch(line)) for line in lines)
