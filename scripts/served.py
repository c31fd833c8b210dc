"""Processes that measure when a line of their input asks for it, so that several can be measured in turns."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data_generators.errors import UserError
from maml_tf.runs import process

ROOT = Path(__file__).parents[1]
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


class Served:
    """A process that runs a module such as `scripts.benchmark_worker` and answers lines of JSON with lines of JSON.

    Args:
        line: name of the module, and its arguments.
        environment: additions to the environment.

    Attributes:
        first: dict that the process has written before the first request.

    Raises:
        UserError: the process has ended, here or in `ask`; the message has the last line of its errors.
    """

    def __init__(self, line: Sequence[str], environment: Mapping[str, str]):
        # Shown only if the process fails, since TensorFlow always writes something.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        whole = [sys.executable, "-m", *line]
        self._process = subprocess.Popen(whole, cwd=ROOT, env=_QUIET | os.environ | environment, text=True, **pipes)
        self.first = self._answer()

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """Sends a request to the process and returns its answer."""
        with contextlib.suppress(BrokenPipeError):  # the process has ended, and `_answer` says why
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        raise UserError(f"a process that measures has ended with {code}: {last_line(self._errors.read())}")

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # closes the input of the process, which then ends
        self._errors.close()


def last_line(errors: str) -> str:
    """Returns the last line of what a process has written to its standard error."""
    return next(reversed(errors.strip().splitlines()), "it said nothing")


def processor() -> str:
    """The name of the CPU."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def machine() -> str:
    """The CPU, how many cores this process may use, and the version of TensorFlow."""
    return f"{processor()}, {process.available_cores()} cores, TensorFlow {version('tensorflow')}"
