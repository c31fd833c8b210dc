"""Malformed command lines: they are refused in one sentence, or understood as Python reads their values."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.data_generators.synthetic_omniglot import snapshot
from tests.stress import data, flags
from tests.stress.judging import REFUSED, RIGHT, VERDICTS, verdict
from tests.stress.processes import run
from tests.stress.tally import Tally, scaled

COUNT = 94
# Time limit. A value that is too large is refused, or takes memory and time in proportion.
_SECONDS = 90


@pytest.mark.slow
def test_wrong_values(tmp_path, record_property):
    tally = Tally("inputs", "values of flags", VERDICTS)
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(_try, tmp_path / f"input{number}", number) for number in range(scaled(COUNT))]
    for number, one in enumerate(tries):
        found, description = one.result()
        tally.add(found, f"input {number}: {description}")
    tally.finish(record_property)


@pytest.mark.slow
def test_wrong_command_lines(tmp_path, record_property):
    tally = Tally("inputs", "command lines", [REFUSED])
    for number, (program, arguments) in enumerate(flags.WRONG[: scaled(len(flags.WRONG))]):
        folder = tmp_path / f"input{number}"
        _make(folder)
        result = run(folder, program, arguments, _SECONDS)
        found = verdict(result, {}, {}) if snapshot(folder).keys() <= {*_GIVEN} else "something written"
        tally.add(found, f"{program} {' '.join(arguments)}: {_last_line(result)}")
    tally.finish(record_property)


_GIVEN = []


def _make(folder):
    folder.mkdir()
    data.omniglot(folder)
    (folder / "a_file").write_text("mine")
    _GIVEN[:] = snapshot(folder)


def _try(folder, number):
    program, arguments, flag, kind, value = flags.one_wrong_value(number)
    _make(folder)
    before = snapshot(folder)
    result = run(folder, program, arguments, _SECONDS)
    found = verdict(result, {}, {})
    if found == RIGHT and not _taken_for_what_it_is(result.stdout, flag, kind, value):
        found = "silently wrong"
    if found in VERDICTS and before.items() - snapshot(folder).items():
        found = "input changed"
    shown = value if len(value) < 40 else f"{value[:20]}... ({len(value)} characters)"
    return found, f"{program} --{flag}={shown!r}: {_last_line(result)}"


def _taken_for_what_it_is(stdout, flag, kind, value):
    """Whether the settings that the command prints, if it does, show the value that Python reads."""
    shown = re.search(rf"^  {flag} +(.*)$", stdout, re.MULTILINE)
    if not shown or kind in ("word", "path"):
        return kind != "boolean" or not shown
    meant = flags.as_python_reads_it(kind, value)
    return meant is not None and shown[1] == str(meant)


def _last_line(result):
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return f"exit code {result.returncode}: {(lines or [''])[-1][:200]}"
