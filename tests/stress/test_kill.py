"""`kill -9` at any moment: run again, the command ends with the same files, to the last bit, as an undisturbed one."""

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
    shutil.copytree(tmp_path / "given", whole)  # it keeps file times, by which caches know files
    run(whole, scenario.program, ("--help",))  # starts the server before time is measured
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
        if result.returncode == 0:  # it ended before it was killed
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
    """The number of kills that are judged already."""
    return tally.count("resumed identically") + tally.count("not identical")


def _wait_for_a_moment(process, folder, scenario, number, chance, seconds, kills):
    """Waits for the next moment to kill the command; returns whether it has ended before.

    The moments take turns: a random one, one soon after a new file appears, and one at which a file is half written.
    Chance alone seldom finds the last kind.
    """
    if number % 3 == 0:
        return process.wait(chance.uniform(0, seconds))
    seen = _state(folder, scenario)
    if process.wait(condition=lambda: _state(folder, scenario) != seen):
        return True
    process.wait(chance.uniform(0, 3 * seconds / kills))
    return number % 3 == 2 and process.wait(condition=lambda: leftovers(folder), every=0.0002)


def _state(folder, scenario):
    """The files of the results, without locks; this changes whenever a file is added."""
    return [path for pattern in scenario.results for path in files(folder, pattern) if "lock" not in path.name]


def _checkpoints(folder):
    # Leaves out the best policy so far, which its iteration saves again, and `saving`, where nothing is in place yet.
    folders = {path.parent for path in folder.rglob("model*.index")}
    folders = {path for path in folders if path.name not in ("best", "saving")}
    return {path: available(path) for path in folders}


def _check_checkpoints(tally, before, folder, number):
    """Notes lost checkpoints: each folder must keep its latest one or have a later one, and the latest is whole."""
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
    """Judges the result, and counts the kills since the folder was new."""
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
