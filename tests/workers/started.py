"""Starts workers on this machine, a core each where there are enough."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from scripts.local_workers import _free_ports

ROOT = Path(__file__).parents[2]
PROXY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # which lets nothing through
PATIENCE = 240  # seconds: the machine may be busy with other tests


class Started:
    """Workers of one command, each with its own arguments in the place of {index}."""

    def __init__(self, folder, command, count=2, environments=({}, {}), commands=None):
        addresses = [f"localhost:{port}" for port in _free_ports(count)]
        cores = sorted(os.sched_getaffinity(0))
        self.outputs = [Path(folder) / f"worker{i}.txt" for i in range(count)]
        self.processes = []
        for i in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
            own = [str(part).replace("{index}", str(i)) for part in (commands[i] if commands else command)]
            own_environment = {"TF_CONFIG": json.dumps(config), "TMPDIR": str(folder)} | PROXY
            environment = os.environ | own_environment | environments[i % len(environments)]
            core = {cores[i % len(cores)]}
            with open(self.outputs[i], "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *own],
                        cwd=ROOT,
                        env=environment,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        preexec_fn=lambda core=core: os.sched_setaffinity(0, core),
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def codes(self):
        """Their exit codes, once all have ended."""
        end = time.monotonic() + PATIENCE
        return [process.wait(max(1, end - time.monotonic())) for process in self.processes]

    def texts(self):
        """What they have written."""
        return [file.read_text() for file in self.outputs]

    def wait_until(self, condition):
        """Waits until a function of nothing is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.texts()
            assert all(process.poll() is None for process in self.processes), self.texts()
            time.sleep(0.05)


def alone(*command, **environment):
    """Runs a command as one process of its own; a subprocess.CompletedProcess."""
    whole, env = [sys.executable, *map(str, command)], os.environ | environment
    return subprocess.run(whole, cwd=ROOT, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)


def launched(*command, **environment):
    """Runs a command by the launcher, as two workers."""
    return alone("-m", "scripts.local_workers", "--workers=2", *command, **PROXY | environment)
