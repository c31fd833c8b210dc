"""All workers end with the exit code that fits the reason, even if a worker or its messages are slow.

The sleeps force the orders of events in which the others used to miss a worker that ended at once.
"""

import contextlib

import pytest

from scripts.local_workers import free_ports
from tests.workers.endings import WAYS
from tests.workers.lines import Line
from tests.workers.started import Started


def check(folder, way, slow, seconds, of_a_line=0.0):
    """Checks exit codes and error sentences of two workers; returns the seconds from the last done to the first end."""
    ports = free_ports(2)
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(Line(port, lambda: of_a_line * (folder / "joined").exists()))
            for port in (ports if of_a_line else ())
        ]
        seen = [line.port for line in lines]
        command = ["tests.workers.endings", way, folder, slow, seconds]
        with Started(folder, command, ports=ports, seen=seen) as workers:
            _, code, said = WAYS[way]
            assert workers.codes() == [code, code], workers.texts()
            for sentences, expected in zip(workers.errors(), said, strict=True):
                assert [s.startswith(expected) for s in sentences] == [True] if expected else not sentences
    first_left = min(float((folder / f"ended{i}").read_text()) for i in range(2) if (folder / f"ended{i}").exists())
    return first_left - max(float((folder / f"done{i}").read_text()) for i in range(2))


def test_who_ends_waits_for_who_is_slow(tmp_path):
    """If it did not wait, its last message might be lost, and the slow worker would take it for gone."""
    assert check(tmp_path, "the chief refuses", slow=0, seconds=1) > 0


@pytest.mark.slow
@pytest.mark.parametrize("slow", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_end_with_a_slow_worker(tmp_path, way, slow):
    check(tmp_path, way, slow, seconds=2)


@pytest.mark.slow
@pytest.mark.parametrize("slow", [0, 1])
def test_one_that_is_too_slow_to_be_waited_for_without_a_word(tmp_path, slow):
    check(tmp_path, "each by itself", slow, seconds=8)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["the chief refuses", "the other fails in its turn", "all agree to", "each by itself"])
def test_what_was_sent_last_is_not_lost(tmp_path, way):
    check(tmp_path, way, slow=-1, seconds=0, of_a_line=2)
