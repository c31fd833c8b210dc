"""Progress: without a terminal, long work writes a line every half minute."""

import re
import sys
import time
import types
import warnings

import tqdm

from data_generators import progress as module
from data_generators.progress import Lines, progress


def test_a_line_now_and_then_says_what_how_far_and_how_long_yet(monkeypatch, capsys):
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.05)
    with progress(600, "Testing on val", "task", done=100) as shown:
        time.sleep(0.12)  # nothing is done yet
        shown.update(200)
        shown.set_postfix_str("loss 0.5", refresh=False)
        time.sleep(0.12)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Testing on val: 100 of 600 tasks"
    assert re.fullmatch(r"Testing on val: 300 of 600 tasks, \d+ s left, loss 0.5", lines[-1])
    assert len(lines) >= 3


def test_what_ends_soon_says_nothing(capsys):
    with progress(10, "Decoding", "image") as shown:
        shown.update(10)
    assert capsys.readouterr() == ("", "")


def test_long_durations_are_told_in_minutes_and_hours():
    assert [module.duration(s) for s in (1, 29, 90, 3600, 7200, 9000)] == [
        *("1 s", "29 s", "2 min", "60 min", "2 h 0 min", "2 h 30 min"),
    ]


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress(10, "Decoding", "image", leave=False) as bar:
        assert isinstance(bar, tqdm.tqdm)
        assert "10/10 [" in (bar.update(10), str(bar))[1]
    with progress(5_000_000, "Downloading", "byte", leave=False) as bar:
        bar.update(5_000_000)
        assert "5.00M/5.00M" in str(bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert isinstance(progress(10, "Decoding", "image"), Lines)


def test_in_a_notebook_it_is_a_widget_or_the_plain_bar_without_a_warning(monkeypatch):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))
    for name in [name for name in sys.modules if name.startswith(("tqdm.auto", "tqdm.notebook"))]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bar = progress(10, "Decoding", "image", leave=False)
    assert isinstance(bar, tqdm.tqdm)
    bar.close()
    shell.config = {}  # IPython outside a notebook
    assert isinstance(progress(10, "Decoding", "image"), Lines)
