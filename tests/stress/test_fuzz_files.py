"""Damaged files: a command that reads one refuses it in one sentence, or does the same as with the undamaged file."""

import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.data_generators.synthetic_omniglot import snapshot
from tests.stress.families import FAMILIES
from tests.stress.judging import VERDICTS, verdict
from tests.stress.outcomes import files, leftovers, outcome
from tests.stress.processes import run
from tests.stress.tally import Tally, scaled


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_spoilt_files(family, tmp_path, record_property):
    tally = Tally("inputs", family.name, VERDICTS)
    family.prepare(tmp_path / "given")
    expected = _whole(family, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(_spoil_and_run, family, tmp_path, n, expected) for n in range(scaled(family.count))]
    for number, one in enumerate(tries):
        found, description = one.result()
        tally.add(found, f"input {number}: {description}")
    tally.finish(record_property)


def _whole(family, tmp_path):
    folder = tmp_path / "whole"
    shutil.copytree(tmp_path / "given", folder)
    result = run(folder, family.program, family.arguments)
    assert result.returncode == 0, result.stderr
    return _outcome(family, folder, result)


def _spoil_and_run(family, tmp_path, number, expected):
    """Damages one file and runs the command; returns (verdict, what was damaged and how)."""
    chance = random.Random(f"{family.name} {number}")
    folder = tmp_path / f"input{number}"
    shutil.copytree(tmp_path / "given", folder)
    path = chance.choice([path for pattern in family.inputs for path in files(folder, pattern)])
    damage = chance.choice(family.damages)
    whole = path.read_bytes()
    spoilt = damage(whole, chance)
    path.write_bytes(spoilt)
    before = snapshot(folder)
    result = run(folder, family.program, family.arguments)
    unnoticeable = family.unnoticeable(path.name, whole, spoilt)
    found = verdict(result, _outcome(family, folder, result), expected, family.said, unnoticeable)
    if found in VERDICTS:
        found = _changed(family, folder, before, path, result) or found
    last = (result.stderr.splitlines() or result.stdout.splitlines() or [""])[-1]
    shutil.rmtree(folder)
    return found, f"{damage.__name__} of {path.relative_to(folder)}: {last[:300]}"


def _outcome(family, folder, result):
    return outcome(folder, family.results) if family.results else {"output": result.stdout}


def _changed(family, folder, before, path, result):
    """The name of a fault if the command has changed or removed its input, or left half a file; otherwise None."""
    if leftovers(folder):
        return "leftovers"
    now = snapshot(folder)
    same = {name for name, contents in before.items() if now.get(name) == contents}
    may_change = {path.relative_to(folder)} if family.replaced else set()
    if result.returncode == 0:  # then it may rewrite its results
        may_change |= {file.relative_to(folder) for pattern in family.results for file in files(folder, pattern)}
        read = [file.relative_to(folder) for pattern in family.inputs for file in files(folder, pattern)]
        may_change -= set() if family.replaced else set(read)
    return "input changed" if before.keys() - same - may_change else None
