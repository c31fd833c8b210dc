"""`kill -9` at any moment: the same command again ends with the same files, to the last bit, as one left alone."""

import itertools
import random
import shutil
import time

import pytest

from maml_tf.runs.checkpoints import available
from tests.maml_tf.small_runs import contents
from tests.stress.outcomes import differing, files, leftovers, outcome
from tests.stress.processes import Command, run
from tests.stress.scenarios import SCENARIOS
from tests.stress.tally import Tally, scaled

KILLED = [scenario for scenario in SCENARIOS if scenario.kills]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", KILLED, ids=[scenario.name for scenario in KILLED])
def test_killed_commands_end_as_if_left_alone(scenario, tmp_path, record_property):
    tally = Tally("kills", scenario.name, ["resumed identically", "of these, amid a file"])
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    scenario.prepare(tmp_path / "given")
    shutil.copytree(tmp_path / "given", whole)  # which keeps the times of files, by which caches know them
    run(whole, scenario.program, ("--help",))  # so that the server has started before time is taken
    straight = Command(whole, scenario.program, scenario.arguments)
    result = straight.result()
    seconds = time.monotonic() - straight.begun
    assert result.returncode == 0, result.stderr
    expected = outcome(whole, scenario.results)
    assert len(expected) > 0
    assert leftovers(whole) == []

    chance = random.Random(scenario.name)
    kills, waiting = scaled(scenario.kills), []
    shutil.copytree(tmp_path / "given", folder)
    for number in itertools.count():
        if len(waiting) + sum_of(tally) == kills or number > 5 * kills:
            break
        before = _checkpoints(folder)
        process = Command(folder, scenario.program, scenario.arguments)
        if not _wait_for_a_moment(process, folder, scenario, number, chance, seconds, kills):
            process.kill()
        result = process.result()
        if result.returncode == 0:  # it was faster
            _judge(tally, waiting, scenario, folder, expected)
            waiting = []
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "given", folder)
            continue
        if result.returncode != -9:
            tally.note("failed", f"start {number}: exit code {result.returncode}: {result.stderr[-500:]}")
            break
        waiting.append(bool(leftovers(folder)))
        _check_checkpoints(tally, before, folder, number)
    result = Command(folder, scenario.program, scenario.arguments).result()
    if result.returncode:
        tally.note("failed", f"last start: exit code {result.returncode}: {result.stderr[-500:]}")
    else:
        _judge(tally, waiting, scenario, folder, expected)
    if sum_of(tally) < kills:
        tally.note("too few kills", f"{sum_of(tally)} of {kills}: it always ended first")
    tally.finish(record_property)


def sum_of(tally):
    """The kills that are judged already."""
    return tally.count("resumed identically") + tally.count("not identical")


def _wait_for_a_moment(process, folder, scenario, number, chance, seconds, kills):
    """Waits for the next moment to kill it; returns whether it has ended before.

    By turns: a random moment, one soon after its first file, and one at which a file is half written, which chance
    alone seldom meets.
    """
    if number % 3 == 0:
        return process.wait(chance.uniform(0, seconds))
    seen = _state(folder, scenario)
    if process.wait(condition=lambda: _state(folder, scenario) != seen):
        return True
    process.wait(chance.uniform(0, 3 * seconds / kills))
    return number % 3 == 2 and process.wait(condition=lambda: leftovers(folder), every=0.0002)


def _state(folder, scenario):
    """Changes whenever a file is added to the results."""
    return [path for pattern in scenario.results for path in files(folder, pattern) if "lock" not in path.name]


def _checkpoints(folder):
    # The best policy so far comes again with its iteration; `saving` holds what is not in place yet.
    folders = {path.parent for path in folder.rglob("model*.index")}
    folders = {path for path in folders if path.name not in ("best", "saving")}
    return {path: available(path) for path in folders}


def _check_checkpoints(tally, before, folder, number):
    """What there was is there, or something later; and the latest is whole."""
    for path, iterations in _checkpoints(folder).items():
        try:
            contents(path / f"model{iterations[-1]}")
        except Exception as error:
            tally.note("lost", f"start {number}: model{iterations[-1]} in {path.name}: {error}")
        if before.get(path, [0])[-1] > iterations[-1]:
            tally.note("lost", f"start {number}: {before[path]} -> {iterations} in {path.name}")
    for path in before.keys() - _checkpoints(folder).keys():
        tally.note("lost", f"start {number}: all checkpoints in {path.name}")


def _judge(tally, waiting, scenario, folder, expected):
    """Counts the kills since the folder was new."""
    different = differing(outcome(folder, scenario.results), expected)
    left = leftovers(folder)
    for amid in waiting:
        tally.add("not identical" if different else "resumed identically", f"{different[:5]}")
        if amid:
            tally.note("of these, amid a file")
    if left:
        tally.note("leftovers", f"{left[:5]}")
    for path, iterations in _checkpoints(folder).items():
        if scenario.keep and len(iterations) > scenario.keep:
            tally.note("too many checkpoints", f"{iterations} in {path.name}")
