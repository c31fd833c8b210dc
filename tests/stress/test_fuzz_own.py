"""User environments that break the contract, and export folders that cannot be written."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.data_generators.synthetic_omniglot import snapshot
from tests.stress import own_environments, scenarios
from tests.stress.judging import REFUSED, RIGHT, verdict
from tests.stress.processes import run
from tests.stress.tally import Tally, scaled

ARGUMENTS = (*scenarios.POLICY, "--iterations=1", "--log=False", "--logdir=runs")
# What is in the place of an export. Those in TAKEN do not prevent the export.
OCCUPIED = {
    "a file": lambda folder: (folder / "exported").write_text("mine"),
    "a folder with a file": lambda folder: _write(folder / "exported" / "mine"),
    "a folder with a hidden file": lambda folder: _write(folder / "exported" / ".mine"),
    "a folder with a folder": lambda folder: (folder / "exported" / "mine").mkdir(parents=True),
    "a link to nowhere": lambda folder: (folder / "exported").symlink_to("nowhere"),
    "a link to a full folder": lambda folder: (folder / "exported").symlink_to("runs"),
    "a folder": lambda folder: (folder / "exported").mkdir(),
    "a file above": lambda folder: (folder / "above").write_text("mine"),
}
TAKEN = {"a folder", "a link to nowhere"}


@pytest.mark.slow
def test_environments(tmp_path, record_property):
    tally = Tally("inputs", "environments of one's own", [REFUSED, RIGHT])
    names = [*own_environments.BROKEN][: scaled(len(own_environments.BROKEN))]
    broken = [(name, own_environments.source(name), "mine:Mine-v0") for name in names]
    wrong_ids = [(repr(name), own_environments.source(None), name) for name in own_environments.IDS]
    cases = [("whole", own_environments.source(None), "mine:Mine-v0"), *broken, *wrong_ids[: scaled(len(wrong_ids))]]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: _train(tmp_path / f"{cases.index(case)}", *case[1:]), cases))
    for (name, _, _), result in zip(cases, results, strict=True):
        found = verdict(result, {}, {})
        if found == RIGHT and name not in ("whole", "''"):
            found = "silently wrong"
        tally.add(found, f"{name}: exit code {result.returncode}: {(result.stderr.splitlines() or [''])[-1][:300]}")
    tally.finish(record_property)


@pytest.mark.slow
def test_export_folders(tmp_path, record_property):
    tally = Tally("inputs", "export folders", [REFUSED, RIGHT])
    main = ("main", (*scenarios.SINUSOID, "--metatrain_iterations=30", "--log=False", "--logdir=runs"))
    policy = ("scripts.export_rl", (*scenarios.POLICY, "--logdir=runs"))
    given = tmp_path / "given"
    given.mkdir()
    for program, arguments in (main, ("scripts.train_rl", ARGUMENTS)):
        assert run(given, program, arguments).returncode == 0
    for program, arguments in (main, policy):
        for number, (name, occupy) in enumerate(OCCUPIED.items()):
            folder = shutil.copytree(given, tmp_path / f"{program}{number}")
            occupy(folder)
            before = snapshot(folder)
            export = "--export_dir=" + ("above/exported" if name == "a file above" else "exported")
            found = verdict(result := run(folder, program, (*arguments, export)), {}, {})
            found = "silently wrong" if found == RIGHT and name not in TAKEN else found
            found = "input changed" if before.items() - snapshot(folder).items() else found
            tally.add(found, f"{program}, {name}: {(result.stderr.splitlines() or [''])[-1][:300]}")
    tally.finish(record_property)


def _train(folder, text, name):
    _write(folder / "mine.py", text)
    return run(folder, "scripts.train_rl", (*ARGUMENTS, f"--env={name}"))


def _write(path, text="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
