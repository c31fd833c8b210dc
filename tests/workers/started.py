"""Starts workers on this machine, each with its share of the cores if there are enough."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from scripts.local_workers import free_ports
from tests.net import commands

ROOT = commands.ROOT
PROXY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # no proxy listens there
PATIENCE = 480  # seconds: the machine may be busy with other tests


class Started:
    """Starts several workers of one command as forked processes; {index} in the arguments becomes a worker's index.

    Args:
        folder: folder for what they write, which is created; it replaces {folder} in the arguments.
        command: a program that `commands.fork` can run, and its arguments.
        count: number of workers.
        each: a command for each worker, instead of one for all.
        coming: indices of the workers that are started; default: all.
        ports: ports of the workers; default: free ones.
        seen: ports at which each worker sees the others; default: their own ports.
    """

    def __init__(self, folder, command, count=2, each=None, coming=None, ports=None, seen=None):
        Path(folder).mkdir(exist_ok=True)
        ports = ports or free_ports(count)
        cores = sorted(os.sched_getaffinity(0))
        coming = range(count) if coming is None else coming
        self.outputs = [Path(folder) / f"worker{i}.txt" for i in coming]
        self.processes = []
        for i, output in zip(coming, self.outputs, strict=True):
            output.write_text("")
            others = seen or ports
            addresses = [f"localhost:{port}" for port in [*others[:i], ports[i], *others[i + 1 :]]]
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
            own = [str(part) for part in (each[i] if each else command)]
            own = [part.replace("{index}", str(i)).replace("{folder}", str(folder)) for part in own]
            environment = {"TF_CONFIG": json.dumps(config), "TMPDIR": str(folder), **PROXY}
            share = cores[len(cores) * i // count : len(cores) * (i + 1) // count] or cores
            surroundings = {"environment": environment, "cores": set(share)}
            self.processes.append(commands.start(ROOT, *own, streams=[output] * 2, **surroundings))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.join()

    def codes(self):
        """Waits until all workers have ended; returns their exit codes."""
        end = time.monotonic() + PATIENCE
        for process in self.processes:
            process.join(max(1, end - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def texts(self):
        """What each worker has written."""
        return [file.read_text() for file in self.outputs]

    def errors(self):
        """The error sentences that each worker has written."""
        return [re.findall("^error: (.*)", text, re.MULTILINE) for text in self.texts()]

    def wait_until(self, condition):
        """Waits until condition() is true; fails if a worker ends first."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.texts()
            assert all(process.is_alive() for process in self.processes), self.texts()
            time.sleep(0.05)


def worked(folder, *command):
    """Runs a command by two workers, which must succeed; returns what the chief wrote."""
    with Started(folder, command) as workers:
        assert workers.codes() == [0, 0], workers.texts()
        return workers.texts()[0]


def compared(folder, *command):
    """Runs a command by two workers and at the same time by one process. All must succeed. Returns both folders."""
    two, one = folder / "two", folder / "one"
    with Started(two, command) as workers, Started(one, command, count=1) as process:
        assert workers.codes() + process.codes() == [0, 0, 0], workers.texts() + process.texts()
    return two, one


def alone(*command, **environment):
    """Runs a command in one separate process; returns a subprocess.CompletedProcess."""
    whole, env = [sys.executable, *map(str, command)], os.environ | environment
    return subprocess.run(whole, cwd=ROOT, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)


def written(*command, **environment):
    """Runs a command in one separate process, which must succeed; returns its stdout."""
    result = alone(*command, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def launched(*command, **environment):
    """Runs a command by the launcher, with two workers; returns a subprocess.CompletedProcess."""
    return alone("-m", "scripts.local_workers", "--workers=2", *command, **PROXY | environment)


def run_folder(logdir):
    """The folder of the only run in a folder of runs."""
    (folder,) = (path for path in logdir.iterdir() if path.is_dir())
    return folder
