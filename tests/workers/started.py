"""Starts workers on this machine, each with its share of the cores where there are enough."""

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
PROXY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # which lets nothing through
PATIENCE = 480  # seconds: the machine may be busy with other tests


class Started:
    """Workers of one command, each with its own arguments in the place of {index}: copies of a process, not launched.

    Args:
        folder: of what they write, which is made and takes the place of {folder}.
        command: a program as `commands.fork` takes it, and its arguments.
        count: of the workers.
        each: a command for each worker, in the place of one for all.
        coming: the workers that are started; default, all.
        ports: of the workers; default, free ones.
        seen: the ports at which each of them sees the others; default, theirs.
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
        """Their exit codes, once all have ended."""
        end = time.monotonic() + PATIENCE
        for process in self.processes:
            process.join(max(1, end - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def texts(self):
        """What they have written."""
        return [file.read_text() for file in self.outputs]

    def errors(self):
        """The sentences with which each has ended."""
        return [re.findall("^error: (.*)", text, re.MULTILINE) for text in self.texts()]

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


def compared(folder, *command):
    """Where two workers and one process, at the same time, have done what ended well: two folders, each {folder}."""
    two, one = folder / "two", folder / "one"
    with Started(two, command) as workers, Started(one, command, count=1) as process:
        assert workers.codes() + process.codes() == [0, 0, 0], workers.texts() + process.texts()
    return two, one


def alone(*command, **environment):
    """Runs a command as one process of its own; a subprocess.CompletedProcess."""
    whole, env = [sys.executable, *map(str, command)], os.environ | environment
    return subprocess.run(whole, cwd=ROOT, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)


def written(*command, **environment):
    """What a command wrote that ended well, in a process of its own."""
    result = alone(*command, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def launched(*command, **environment):
    """Runs a command by the launcher, as two workers."""
    return alone("-m", "scripts.local_workers", "--workers=2", *command, **PROXY | environment)


def run_folder(logdir):
    """The folder of the only run in a folder of runs."""
    (folder,) = (path for path in logdir.iterdir() if path.is_dir())
    return folder
