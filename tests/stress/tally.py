"""Counts the verdicts of a campaign, scales its size, and fails it if a verdict is a fault."""

import collections
import os


def scaled(number):
    """Multiplies a number by the environment variable STRESS_SCALE, 0.1 for a tenth; the result is at least 1."""
    return max(1, round(number * float(os.environ.get("STRESS_SCALE", "1"))))


class Tally:
    """The counts of a campaign, by verdict.

    Args:
        what: what is counted, in the plural.
        name: name of the scenario.
        right: the verdicts that are right; every other one is a fault.
    """

    def __init__(self, what, name, right):
        self._what, self._name, self._right = what, name, right
        self._counts = collections.Counter()
        self._total = 0
        self.faults = []

    def add(self, verdict, description=""):
        """Counts one more; for a fault, `description` says how to reproduce it."""
        self._total += 1
        self.note(verdict, description)

    def note(self, verdict, description=""):
        """Adds a verdict on one that is counted already."""
        self._counts[verdict] += 1
        if verdict not in self._right:
            self.faults.append(f"{self._name}: {verdict}: {description}")

    def count(self, verdict):
        """How often this verdict was given."""
        return self._counts[verdict]

    def line(self):
        """The whole tally on one line."""
        faults = collections.Counter({verdict: n for verdict, n in self._counts.items() if verdict not in self._right})
        parts = [f"{verdict} {self._counts[verdict]}" for verdict in self._right]
        parts += [f"{verdict.upper()} {number}" for verdict, number in faults.items()] or ["faults 0"]
        return f"{self._name}: {self._what}: {self._total}, " + ", ".join(parts)

    def finish(self, record_property):
        """Records the tally for the summary, and fails if there was a fault."""
        record_property("tally", self.line())
        assert not self.faults, "\n".join([self.line(), *self.faults])
