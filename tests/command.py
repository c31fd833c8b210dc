"""Runs the real command, `python main.py`, in a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def start(folder, *arguments):
    """Starts the command in a folder; its output can be read by `communicate`."""
    command = [sys.executable, str(ROOT / "main.py"), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=_ENVIRONMENT, **pipes)


def run(folder, *arguments):
    """Runs the command to its end; returns subprocess.CompletedProcess."""
    return ended(start(folder, *arguments))


def ended(process):
    """Waits for the end of a process that was started; returns subprocess.CompletedProcess."""
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(process, condition):
    """Waits until condition() is true, while the process runs; returns the last condition()."""
    while not (result := condition()):
        if process.poll() is not None:
            raise AssertionError(f"the command ended too early: {ended(process)}")
        time.sleep(0.005)
    return result
