"""Starts workers on this machine, a core each where there are enough."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from scripts.local_workers import _free_ports
from tests.net import commands

ROOT = commands.ROOT
PROXY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # which lets nothing through
PATIENCE = 480  # seconds: the machine may be busy with other tests


class Started:
    """Workers of one command, each with its own arguments in the place of {index}: copies of a process, not launched.

    Args:
        folder: of what they write.
        command: a program as `commands.fork` takes it, and its arguments.
        count: of the workers.
        each: a command for each worker, in the place of one for all.
    """

    def __init__(self, folder, command, count=2, each=None):
        addresses = [f"localhost:{port}" for port in _free_ports(count)]
        cores = sorted(os.sched_getaffinity(0))
        self.outputs = [Path(folder) / f"worker{i}.txt" for i in range(count)]
        self.processes = []
        for i, output in enumerate(self.outputs):
            output.write_text("")
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
            own = [str(part).replace("{index}", str(i)) for part in (each[i] if each else command)]
            environment = {"TF_CONFIG": json.dumps(config), "TMPDIR": str(folder), **PROXY}
            surroundings = {"environment": environment, "cores": {cores[i % len(cores)]}}
            self.processes.append(commands.start(ROOT, *own, streams=[output] * 2, **surroundings))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.join()

    def codes(self):
        """Their exit codes, once all have ended."""
        end = time.monotonic() + PATIENCE
        for process in self.processes:
            process.join(max(1, end - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def texts(self):
        """What they have written."""
        return [file.read_text() for file in self.outputs]

    def wait_until(self, condition):
        """Waits until a function of nothing is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.texts()
            assert all(process.is_alive() for process in self.processes), self.texts()
            time.sleep(0.05)


def worked(folder, *command):
    """What the chief of two workers wrote, who ended well."""
    with Started(folder, command) as workers:
        assert workers.codes() == [0, 0], workers.texts()
        return workers.texts()[0]


def alone(*command, **environment):
    """Runs a command as one process of its own; a subprocess.CompletedProcess."""
    whole, env = [sys.executable, *map(str, command)], os.environ | environment
    return subprocess.run(whole, cwd=ROOT, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)


def launched(*command, **environment):
    """Runs a command by the launcher, as two workers."""
    return alone("-m", "scripts.local_workers", "--workers=2", *command, **PROXY | environment)
