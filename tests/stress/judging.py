"""What may become of a command with malformed input: refused in one sentence, or right."""

import re

from tests.stress.outcomes import differing

REFUSED, RIGHT = "refused", "accepted rightly"
SAID, UNNOTICEABLE = "accepted, and said", "nobody could notice"
VERDICTS = (REFUSED, RIGHT, SAID, UNNOTICEABLE)

# argparse says which script it is before it says "error: ".
_ERROR = re.compile(r"(python -m scripts\.\w+: )?error: \S.*")


def refused_well(result):
    """Whether there is exit code 2, and one sentence that begins with "error: " as the last line of stderr."""
    lines = result.stderr.splitlines()
    return result.returncode == 2 and bool(lines) and bool(_ERROR.fullmatch(lines[-1])) and _sentences(lines) == 1


def verdict(result, found, whole, said=None, unnoticeable=False):
    """The verdict on a command.

    Args:
        result: its Result.
        found, whole: what it left, and what the command left with the whole input, as `outcomes.outcome` gives them.
        said: a pattern of what it prints of a difference; None if no difference is right.
        unnoticeable: whether nobody could notice that the input is not what it was.

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
