"""What becomes of workers when one never comes, freezes, or has too little to do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.workers.started import ROOT, Started
from tests.workers.test_commands import ENDLESS, SINUSOID, SMALL, run_folder


def alone_of_two(folder, port, signals=()):
    """(exit code, output, seconds after the signal) of the first of two workers, whose fellow never comes."""
    config = {
        "cluster": {"worker": [f"localhost:{port}", "localhost:1"]},
        "task": {"type": "worker", "index": 0},
    }
    command = [sys.executable, "main.py", *SMALL, f"--logdir={folder / 'runs'}"]
    environment = os.environ | {"TF_CONFIG": json.dumps(config)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        read = ""
        while "waiting for all" not in read:
            line = process.stdout.readline()
            assert line, read
            read += line
        time.sleep(1 if signals else 0)  # until it waits
        start = time.monotonic()
        for number in signals:
            process.send_signal(number)
        rest, _ = process.communicate(timeout=120)
        return process.returncode, read + rest, time.monotonic() - start


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def test_ctrl_c_ends_a_worker_that_waits(tmp_path):
    code, text, seconds = alone_of_two(tmp_path, free_port(), [signal.SIGINT])
    assert code == -signal.SIGINT
    assert "Worker 0 of 2 at localhost" in text
    assert seconds < 10


@pytest.mark.slow
def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        code, text, _ = alone_of_two(tmp_path, taken.getsockname()[1])
    assert code == 2, text
    assert "is its port taken?" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_meta_batch_that_is_too_small_to_share_is_refused(tmp_path):
    command = [*SINUSOID, "--meta_batch_size=1", f"--logdir={tmp_path / 'runs'}"]
    with Started(tmp_path, command) as workers:
        assert workers.codes() == [2, 2], workers.texts()
        assert all("error: 1 tasks are too few for 2 workers" in text for text in workers.texts())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_frozen_worker_is_noticed(tmp_path, victim):
    (tmp_path / "runs").mkdir()
    with Started(tmp_path, [*ENDLESS, f"--logdir={tmp_path / 'runs'}"]) as workers:
        workers.wait_until(lambda: list((tmp_path / "runs").rglob("model*.index")))
        os.kill(workers.processes[victim].pid, signal.SIGSTOP)
        start = time.monotonic()
        workers.processes[1 - victim].join(120)
        assert workers.processes[1 - victim].exitcode == 75, workers.texts()
        seconds = time.monotonic() - start
        assert seconds < 60, seconds  # the heartbeat alone is 10; the machine may be busy
        os.kill(workers.processes[victim].pid, signal.SIGCONT)
        workers.processes[victim].join(120)
        assert workers.processes[victim].exitcode == 75, workers.texts()
    assert run_folder(tmp_path / "runs").exists()
