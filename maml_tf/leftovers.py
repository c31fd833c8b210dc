"""What killed processes leave in the folder of a run."""

import re
from contextlib import suppress
from pathlib import Path

from data_generators.files import another_runs, remove_all_abandoned

# Half-written files of earlier versions, most with the number of the process that wrote them.
_EARLIER = re.compile(r".+\.(?:csv|pkl|json|npz)(?:\.(?P<process>\d+))?\.part")


def remove_leftovers(folder):
    """Removes half-written files from the folder of a run, which nobody else may be training in."""
    remove_all_abandoned(folder)
    for part in Path(folder).glob("*.part"):
        earlier = _EARLIER.fullmatch(part.name)
        if earlier and not (earlier["process"] and another_runs(int(earlier["process"]))):
            with suppress(OSError):
                part.unlink()
