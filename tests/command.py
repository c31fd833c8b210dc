"""Runs the real command, `python main.py`, in a separate process and returns its output."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


# The run that several tests share: its flags, which leave little to compile, and the name of its folder in the logdir.
ARGUMENTS = ("--metatrain_iterations=1000", "--save_interval=50", "--validation_interval=500", "--jit=false")
ARGUMENTS += ("--logdir=runs",)
NAME = "cls_5.mbs_25.ubs_10.numstep1.updatelr0.01nonorm"


class Result(NamedTuple):
    """The result of a command: its exit code and all that it wrote."""

    returncode: int
    stdout: str
    stderr: str


class RealRun(NamedTuple):
    """A run that was stopped and resumed.

    folder: the folder of the checkpoints.
    stopped, finished: the Result of the interrupted command, and of the one that resumed the run.
    kept: the iterations whose checkpoints existed between the two commands.
    """

    folder: Path
    stopped: Result
    kept: list
    finished: Result


def assert_refused(result, message):
    """Asserts exit code 2, and that the last line of stderr is an error sentence with this message."""
    assert result.returncode == 2
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith("error: ")
    assert message in last_line
    assert "Traceback" not in result.stderr


def start(folder, *arguments):
    """Starts the command in a folder; its output can be read by `communicate`."""
    command = [sys.executable, str(ROOT / "main.py"), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=_ENVIRONMENT, **pipes)


def run(folder, *arguments):
    """Runs the command to its end; returns its Result."""
    return ended(start(folder, *arguments))


def ended(process):
    """Waits for the end of a started process; returns its Result."""
    out, err = process.communicate()
    return Result(process.returncode, out, err)


def wait_for(process, condition, every=0.02):
    """Waits until condition() is true, checking every `every` seconds; returns its value. Fails if the process ends."""
    while not (result := condition()):
        if process.poll() is not None:
            raise AssertionError(f"the command ended too early: {ended(process)}")
        time.sleep(every)
    return result
