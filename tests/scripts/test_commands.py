"""Every command of scripts/ answers --help and a mistyped flag without delay; former names still work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rl.commands import evaluate
from scripts import flops, sgemm, test_rl

ROOT = Path(__file__).parents[2]
NO_COMMANDS = {"__init__", "benchmark_record", "benchmark_turns", "benchmark_worker", "record", "results", "rows"}
NO_COMMANDS |= {"updates", "served", "tables", "verify"}
COMMANDS = sorted({file.stem for file in ROOT.glob("scripts/*.py")} - NO_COMMANDS)
SLOW_TO_LOAD = ("tensorflow", "keras", "mujoco", "matplotlib")

CALL_ALL = """
import contextlib, importlib, io, json, sys

answers = {}
for name in sys.argv[1:]:
    script = importlib.import_module(f"scripts.{name}")
    for argument in ("--help", "--no_such_flag=1"):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = script.main([argument])
        answers[f"{name} {argument}"] = (code, out.getvalue(), err.getvalue())
print(json.dumps([answers, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def called():
    """What every command answered (exit code, stdout, stderr), and the modules that they loaded in total."""
    command = [sys.executable, "-c", CALL_ALL, *COMMANDS]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_docstring_and_every_flag(called, name):
    code, out, _ = called[0][f"{name} --help"]
    assert code == 0
    assert "  --help " in out
    if name not in ("test_rl", "sgemm", "benchmark_rl_sampling"):
        assert f"\n\npython -m scripts.{name}" in out
    assert all(len(line) <= 120 for line in out.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistyped_flag_is_one_sentence(called, name):
    code, out, err = called[0][f"{name} --no_such_flag=1"]
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: Unknown command line flag 'no_such_flag'")
    assert err.count("\n") == 1 + err.startswith("scripts.")


def test_help_and_mistakes_need_not_wait_for_the_large_libraries(called):
    assert [name for name in called[1] if name.split(".")[0] in SLOW_TO_LOAD] == []


@pytest.mark.parametrize(("former", "now", "name"), [(test_rl, evaluate, "evaluate_rl"), (sgemm, flops, "flops")])
def test_former_names_still_work_and_say_the_new_one(former, now, name, monkeypatch, capsys):
    monkeypatch.setattr(now, "run", lambda flags: 77)
    assert former.main([]) == 77
    old = former.__name__.removeprefix("scripts.")
    assert capsys.readouterr() == ("", f"scripts.{old} is now called scripts.{name}: use that name\n")


def test_the_rate_of_matrix_products_is_all_that_flops_prints(monkeypatch, capsys):
    monkeypatch.setattr(flops, "sgemm", lambda: 12.5)  # takes seconds to measure
    assert flops.main([]) == 0
    assert capsys.readouterr().out == "12.5\n"
