"""A full disk at each file that is written: one sentence or a warning; then, with room, the same command resumes.

Two ways to fill it: no file can become longer than so many bytes (RLIMIT_FSIZE), so that each file in turn is the one
that fails; and a small file system (tmpfs), where this process may mount one.
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

LIMITS = 7  # for each scenario
SHARES = (0.05, 0.3, 0.5, 0.7, 0.9, 0.97)  # of what the command writes, for which there is room


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
    """What the command leaves where there is room, and how long its files are."""
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
    # A run that comes to its end may write the results of an earlier one anew.
    if changed and result.returncode:
        tally.note("earlier file lost", f"{what}: {changed[:5]}")
    if left := leftovers(folder):
        tally.note("leftovers", f"{what}: {left[:5]}")
    last = (result.stderr.splitlines() or [""])[-1][:300]
    tally.add(found, f"{what}: exit code {result.returncode}: {last}")
    if found == RIGHT:
        return  # an export is not written a second time
    again = run(folder, scenario.program, (*scenario.arguments, *scenario.brief))
    different = differing(outcome(folder, scenario.results), expected)
    if again.returncode or different:
        tally.note("not resumed", f"{what}: exit code {again.returncode}: {again.stderr[-300:]} {different[:5]}")


def _some(values, number):
    """So many of the values, from the first to the last."""
    values = [*values]
    number = min(number, len(values))
    return [values[i * (len(values) - 1) // max(1, number - 1)] for i in range(number)]


def _used(folder):
    """Bytes that a tmpfs needs for a folder: whole pages."""
    return sum(4096 * (1 + path.stat().st_size // 4096) for path in folder.rglob("*"))


def _mount(folder, options):
    if sys.platform != "linux" or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
