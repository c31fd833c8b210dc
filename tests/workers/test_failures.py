"""What workers do when one never joins, freezes, or has too little to do."""

import os
import signal
import socket
import time

import pytest

from tests.workers.started import Started
from tests.workers.test_commands import ENDLESS, SINUSOID, run_folder


def test_ctrl_c_ends_a_worker_that_waits(tmp_path):
    with Started(tmp_path, [*SINUSOID, "--logdir={folder}/runs"], coming=[0]) as workers:
        workers.wait_until(lambda: "waiting for all" in workers.texts()[0])
        time.sleep(1)  # so that it is waiting by then
        start = time.monotonic()
        os.kill(workers.processes[0].pid, signal.SIGINT)
        assert workers.codes() == [-signal.SIGINT]
        assert time.monotonic() - start < 10
        assert "Worker 0 of 2 at localhost" in workers.texts()[0]


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.slow)])  # TensorFlow gives worker 1 another 5 s
def test_a_worker_whose_fellow_never_comes_ends(tmp_path, index):
    with Started(tmp_path, ["tests.workers.hurried"], coming=[index]) as workers:
        assert workers.codes() == [75], workers.texts()
        said = "not all workers have come within 1 seconds: see what has become of them, and start all again"
        assert workers.errors() == [[said]]
        assert "Traceback" not in workers.texts()[0]


@pytest.mark.slow
def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        ports = [taken.getsockname()[1], 1]
        with Started(tmp_path, [*SINUSOID, "--logdir={folder}/runs"], coming=[0], ports=ports) as workers:
            assert workers.codes() == [2], workers.texts()
            assert "is its port taken?" in workers.texts()[0]
            assert "Traceback" not in workers.texts()[0]


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
        assert seconds < 60, seconds  # the heartbeat alone takes 10 s, and the machine may be busy
        os.kill(workers.processes[victim].pid, signal.SIGCONT)
        workers.processes[victim].join(120)
        assert workers.processes[victim].exitcode == 75, workers.texts()
    assert run_folder(tmp_path / "runs").exists()
