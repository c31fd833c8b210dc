"""The command that makes the pictures of the documentation: it makes all of them, and its flags are valid."""

import subprocess
from pathlib import Path

import pytest

from maml_tf.runs import process
from scripts import compare_rl, docs_figures, evaluate_rl, plot_rl, plot_sinusoid, plot_validation, render_rl

FIGURES = Path(__file__).parents[2] / docs_figures.FIGURES
SCRIPTS = {
    script.__name__.split(".")[1]: script
    for script in (compare_rl, evaluate_rl, plot_rl, plot_sinusoid, plot_validation, render_rl)
}


def test_every_picture_of_the_documentation_is_made():
    *names, film, scaling, cost = docs_figures.commands()
    assert (film, scaling, cost) == ("film", "scaling", "cost")
    for name in names:
        assert list(FIGURES.glob(f"{name}_*.png")), name
    others = [file.name for file in FIGURES.iterdir() if not file.name.startswith(tuple(f"{name}_" for name in names))]
    assert sorted(others) == ["cost.csv", "cost.png", "half_cheetah_direction.gif", "scaling.csv", "scaling.png"]


@pytest.mark.parametrize(
    "name", [name for name in docs_figures.commands() if name not in ("results", "scaling", "cost", "benchmark")]
)
def test_commands_have_valid_flags_and_name_the_folder(call, name, tmp_path, monkeypatch):
    """In a folder without runs, the only error is that they are missing."""
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)  # can only be done once in a process
    for script, *flags in docs_figures.commands()[name]:
        assert flags[-1].startswith("--out=docs/figures")
        result = call(SCRIPTS[script].main, *flags)
        assert result.returncode == 2
        missing = ("no trained", "no checkpoint in logs", "the returns in logs", "the returns in runs")
        assert result.stderr.startswith(tuple(f"error: {text}" for text in missing)), result.stderr
    assert not list(tmp_path.iterdir())


def test_those_that_can_be_made_are_made(call, monkeypatch):
    def fail_first(command):
        ran.append(command[2:])
        return subprocess.CompletedProcess(command, 2 * (len(ran) == 1))

    ran = []
    monkeypatch.setattr(docs_figures.subprocess, "run", fail_first)
    result = call(docs_figures.main, "--picture=ant_velocity")
    assert result.returncode == 2
    flags = ["--env=ant_velocity", "--out=docs/figures"]
    assert ran == [["scripts.evaluate_rl", *flags], ["scripts.plot_rl", *flags]]
    assert result.stdout.splitlines()[1] == "python -m scripts.plot_rl --env=ant_velocity --out=docs/figures"
