"""The count of what a campaign has met, how large it is to be, and what must not have happened."""

import collections
import os


def scaled(number):
    """So many, or fewer if STRESS_SCALE says so: 0.1 for a tenth."""
    return max(1, round(number * float(os.environ.get("STRESS_SCALE", "1"))))


class Tally:
    """Counts of a campaign by verdict.

    Args:
        what: is counted.
        name: of the scenario.
        right: the verdicts that are as they should be; every other one is a fault.
    """

    def __init__(self, what, name, right):
        self._what, self._name, self._right = what, name, right
        self._counts = collections.Counter()
        self._total = 0
        self.faults = []

    def add(self, verdict, description=""):
        """Counts one more; description says of a fault how to see it again."""
        self._total += 1
        self.note(verdict, description)

    def note(self, verdict, description=""):
        """Adds a remark on one that is counted already."""
        self._counts[verdict] += 1
        if verdict not in self._right:
            self.faults.append(f"{self._name}: {verdict}: {description}")

    def count(self, verdict):
        """How often there was this verdict."""
        return self._counts[verdict]

    def line(self):
        """All of it on one line."""
        faults = collections.Counter({verdict: n for verdict, n in self._counts.items() if verdict not in self._right})
        parts = [f"{verdict} {self._counts[verdict]}" for verdict in self._right]
        parts += [f"{verdict.upper()} {number}" for verdict, number in faults.items()] or ["faults 0"]
        return f"{self._name}: {self._what}: {self._total}, " + ", ".join(parts)

    def finish(self, record_property):
        """Has the summary show it, and fails if anything was wrong."""
        record_property("tally", self.line())
        assert not self.faults, "\n".join([self.line(), *self.faults])
