"""The disk is full at each file that is written: the command says so in one sentence or warns; with room, it resumes.

There are two ways to fill it: a maximum length of files (RLIMIT_FSIZE), so that each file in turn is the one that
fails; and a small file system (tmpfs), if this process may mount one.
"""

import shutil
import subprocess
import sys

import pytest

from tests.data_generators.synthetic_omniglot import snapshot
from tests.stress.judging import REFUSED, RIGHT, verdict
from tests.stress.outcomes import differing, files, leftovers, outcome
from tests.stress.processes import run
from tests.stress.scenarios import SCENARIOS
from tests.stress.tally import Tally, scaled

LIMITS = 7  # number of limits for each scenario
SHARES = (0.05, 0.3, 0.5, 0.7, 0.9, 0.97)  # shares of what the command writes that fit on the disk


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_files_that_cannot_become_longer(scenario, tmp_path, record_property):
    tally = Tally("full disks", f"{scenario.name}, limit", [REFUSED, RIGHT, "warned"])
    expected, sizes = _left_alone(scenario, tmp_path)
    for limit in _some(sorted({size - 1 for size in sizes} | {0}), scaled(LIMITS)):
        folder = shutil.copytree(tmp_path / "given", tmp_path / f"limit{limit}")
        before = snapshot(folder)
        result = run(folder, scenario.program, (*scenario.arguments, *scenario.brief), file_bytes=limit)
        _judge(tally, scenario, folder, before, result, expected, f"files of {limit} bytes at most")
        shutil.rmtree(folder)
    tally.finish(record_property)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_small_file_system(scenario, tmp_path, record_property):
    folder = tmp_path / "mounted"
    folder.mkdir()
    if not _mount(folder, "size=64m"):
        pytest.skip("only root may mount a small file system")
    try:
        tally = Tally("full disks", f"{scenario.name}, tmpfs", [REFUSED, RIGHT, "warned"])
        expected, _ = _left_alone(scenario, tmp_path)
        given, end = _used(tmp_path / "given"), _used(tmp_path / "whole")
        for share in _some(SHARES, scaled(len(SHARES))):
            room = given + int(share * (end - given))
            for path in folder.iterdir():
                shutil.rmtree(path)
            assert _mount(folder, "remount,size=64m")
            here = shutil.copytree(tmp_path / "given", folder / "run")
            before = snapshot(here)
            assert _mount(folder, f"remount,size={max(room, _used(here) + 4096)}")
            result = run(here, scenario.program, (*scenario.arguments, *scenario.brief))
            assert _mount(folder, "remount,size=64m")
            _judge(tally, scenario, here, before, result, expected, f"room for {share:.0%} of what is written")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    tally.finish(record_property)


def _left_alone(scenario, tmp_path):
    """The outcome of the command when there is room, and the lengths of the files that it writes."""
    scenario.prepare(tmp_path / "given")
    folder = shutil.copytree(tmp_path / "given", tmp_path / "whole")
    result = run(folder, scenario.program, (*scenario.arguments, *scenario.brief))
    assert result.returncode == 0, result.stderr
    written = {path for pattern in scenario.results for path in files(folder, pattern)}
    return outcome(folder, scenario.results), {path.stat().st_size for path in written}


def _judge(tally, scenario, folder, before, result, expected, what):
    found = verdict(
        result,
        outcome(folder, scenario.results),
        expected,
        said="(?i)warning|without|again each time|cannot be written",
    )
    found = "warned" if found == "accepted, and said" else found
    now = snapshot(folder)
    changed = [str(name) for name, contents in before.items() if now.get(name) != contents]
    # A run that reaches its end may replace the results of an earlier one.
    if changed and result.returncode:
        tally.note("earlier file lost", f"{what}: {changed[:5]}")
    if left := leftovers(folder):
        tally.note("leftovers", f"{what}: {left[:5]}")
    last = (result.stderr.splitlines() or [""])[-1][:300]
    tally.add(found, f"{what}: exit code {result.returncode}: {last}")
    if found == RIGHT:
        return  # an export cannot be written a second time
    again = run(folder, scenario.program, (*scenario.arguments, *scenario.brief))
    different = differing(outcome(folder, scenario.results), expected)
    if again.returncode or different:
        tally.note("not resumed", f"{what}: exit code {again.returncode}: {again.stderr[-300:]} {different[:5]}")


def _some(values, number):
    """`number` of the values, spread from the first to the last."""
    values = [*values]
    number = min(number, len(values))
    return [values[i * (len(values) - 1) // max(1, number - 1)] for i in range(number)]


def _used(folder):
    """The bytes that a folder needs on a tmpfs, in whole pages."""
    return sum(4096 * (1 + path.stat().st_size // 4096) for path in folder.rglob("*"))


def _mount(folder, options):
    if sys.platform != "linux" or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
