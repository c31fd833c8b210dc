"""Shows the progress of long work: a bar on a terminal and in a notebook, elsewhere a line every half minute."""

import sys
import threading
import time
import warnings
from typing import Any, TextIO

from tqdm import tqdm

EVERY_SECONDS = 30


def progress(total: int, what: str, unit: str, done: int = 0, leave: bool = True) -> "tqdm | Lines":
    """Shows the progress of some work while it is entered as a context.

    Args:
        total: number of units of work.
        what: name of the work, "Testing on val" for example.
        unit: unit of the work, in the singular; for "byte", a bar shows kB, MB and so on.
        done: number of units that were done before.
        leave: whether the bar stays on the terminal after the end.

    Returns:
        An object with `update(units)` and `set_postfix_str(text, refresh)`, as tqdm's.
    """
    bar = _bar()
    if bar is not None:
        look: dict[str, Any] = {"mininterval": 0.5, "smoothing": 0.05, "dynamic_ncols": True}
        look |= {"unit": "B", "unit_scale": True} if unit == "byte" else {"unit": unit}
        return bar(total=total, desc=what, initial=done, leave=leave, **look)
    return Lines(total, what, unit, done)


def _bar() -> type[tqdm] | None:
    """The class of tqdm for this terminal or notebook; None if only lines can be shown."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and "IPKernelApp" in shell.config:  # a notebook
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without ipywidgets, it is the plain bar
            from tqdm.auto import tqdm as notebook_bar
        return notebook_bar
    return tqdm if hasattr(sys.stderr, "isatty") and sys.stderr.isatty() else None


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a line above any bars, to stdout or another stream."""
    tqdm.write(text, file=file)


class Lines:
    """Writes a line to stderr every half minute: the work, its progress and the time left. Shorter work writes none.

    A thread writes the lines, so they also appear during a single long operation.

    Args as in `progress`.
    """

    def __init__(self, total: int, what: str, unit: str, done: int = 0):
        self._total, self._what, self._unit = total, what, unit
        self._first = self._done = done
        self._start = time.monotonic()
        self._postfix = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"progress of {what}", daemon=True)

    def __enter__(self):
        if sys.stderr is not None:  # None where there is no console
            self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def update(self, units: int = 1) -> None:
        """Counts units that are done."""
        self._done += units

    def set_postfix_str(self, text: str = "", refresh: bool = True) -> None:
        """Sets the text at the end of the line."""
        self._postfix = text

    def line(self) -> str:
        """The line that shows the present progress."""
        made, seconds = self._done - self._first, time.monotonic() - self._start
        parts = [f"{self._what}: {self._done:,} of {self._total:,} {self._unit}s"]
        if made:
            parts.append(f"{duration(seconds / made * (self._total - self._done))} left")
        return ", ".join([*parts, *([self._postfix] if self._postfix else [])])

    def _run(self):
        while not self._ended.wait(EVERY_SECONDS):
            print(self.line(), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words: "29 s", "90 min", "2 h 30 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
