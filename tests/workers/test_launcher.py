"""The launcher, with programs of a few lines as workers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maml_tf.runs.boundary import ONE_REQUEST
from scripts import local_workers
from tests.workers.started import ROOT

START = """
import json, os, pathlib, signal, sys, tempfile, time
signal.alarm(120)  # whatever becomes of the test, the program ends
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
here = pathlib.Path(sys.argv[1])
def mark(name):
    (here / f"{name}{index}").touch()
"""


@pytest.fixture
def program(tmp_path):
    def write(text):
        path = tmp_path / "program.py"
        path.write_text(START + text)
        return path

    return write


@pytest.fixture
def launcher():
    """launcher(*arguments) starts it; if it still runs after the test, it is killed, which makes its workers stop."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    surroundings = {"cwd": ROOT, "env": os.environ | {"CUDA_VISIBLE_DEVICES": ""}}

    def start(*arguments):
        command = [sys.executable, "-m", "scripts.local_workers", *map(str, arguments)]
        process = subprocess.Popen(command, preexec_fn=_heed_hangups, **surroundings, **pipes)
        started.enter_context(process)
        started.callback(process.kill)
        return process

    with contextlib.ExitStack() as started:
        yield start


def _heed_hangups():
    """Restores the default action of SIGHUP, since the tests may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def ended(process):
    """Waits for the end of a process; returns (exit code, stdout, stderr)."""
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def wait_for(*files):
    end = time.monotonic() + 60
    while not all(file.exists() for file in files):
        assert time.monotonic() < end, files
        time.sleep(0.02)


def test_an_error_of_one_is_told_to_its_last_line_and_not_tried_again(launcher, program, tmp_path):
    path = program("""
mark("started")
if index:
    sys.exit("\\n".join(f"line {i}" for i in range(3000)) + "\\nerror: its data are missing")
time.sleep(0.5)
sys.exit(75)
""")
    code, _, errors = ended(launcher("--workers", "2", path, tmp_path))  # the separate value is not the command
    assert code == 1
    assert errors.endswith("worker 1: line 2999\nworker 1: error: its data are missing\n")
    assert "started again" not in errors


STOPS = """
def stop(number, frame):
    mark("stopped")
    print("saved", flush=True)
    sys.exit(130)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
mark("started")
while True:
    time.sleep(0.01)  # over and over: a signal that comes just before a sleep is seen after it
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_comes_to_all(launcher, program, tmp_path, number):
    process = launcher("--workers=2", program(STOPS), tmp_path)
    wait_for(tmp_path / "started0", tmp_path / "started1")
    process.send_signal(number)
    assert ended(process) == (130, "saved\n", "")
    assert (tmp_path / "stopped1").exists()


def test_a_request_that_comes_while_a_worker_is_being_started_comes_to_it(program, tmp_path, monkeypatch):
    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            if "stderr" in options:  # this is the second worker
                wait_for(tmp_path / "started0", tmp_path / "started1")
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    assert local_workers.main(["--workers=2", str(program(STOPS)), str(tmp_path)]) == 130
    assert (tmp_path / "stopped1").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells them")
def test_the_workers_of_a_launcher_that_is_killed_stop(launcher, program, tmp_path):
    """Linux may signal each worker once or several times."""
    path = program("""
signal.signal(signal.SIGINT, lambda number, frame: mark("stopped"))
mark("started")
while not list(here.glob(f"stopped{index}")):
    time.sleep(0.01)
""")
    process = launcher("--workers=2", path, tmp_path)
    wait_for(tmp_path / "started0", tmp_path / "started1")
    process.kill()
    wait_for(tmp_path / "stopped0", tmp_path / "stopped1")
    assert ended(process)[0] == -signal.SIGKILL


def test_the_third_request_kills(launcher, program, tmp_path):
    path = program("""
def ignore(number, frame):
    mark(f"ignored{len(list(here.glob('ignored*%d' % index)))}of")
signal.signal(signal.SIGINT, ignore)
(here / f"folder{index}").write_text(tempfile.mkdtemp())
mark("started")
while True:
    time.sleep(0.01)
""")
    process = launcher("--workers=2", path, tmp_path)
    wait_for(tmp_path / "started0", tmp_path / "started1")
    for number in range(3):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # so soon that both are one request
        if number < 2:
            wait_for(*(tmp_path / f"ignored{number}of{index}" for index in range(2)))
            time.sleep(1.1 * ONE_REQUEST)
            assert not list(tmp_path.glob(f"ignored{number + 1}of*"))
    assert ended(process)[0] == 130
    folders = [Path((tmp_path / f"folder{index}").read_text()) for index in range(2)]
    assert not any(folder.exists() or folder.parent.exists() for folder in folders)


@pytest.mark.parametrize(("flag", "starts"), [("--resume=False", 1), ("--noresume", 1), ("--resume=True", 2)])
def test_what_would_begin_anew_is_not_started_again(launcher, program, tmp_path, flag, starts):
    path = program("""
mark(f"start{len(list(here.glob('start*0')))}of")
if index:
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(75)
""")
    code, _, errors = ended(launcher("--workers=2", "--restarts=1", path, tmp_path, flag))
    assert (code, len(list(tmp_path.glob("start*of0")))) == (75, starts)
    assert ("without --" in errors) == (starts == 1)


def test_every_worker_has_cores_of_its_own(launcher, program, tmp_path):
    path = program("""
(here / f"cores{index}").write_text(json.dumps(sorted(os.sched_getaffinity(0))))
""")
    assert ended(launcher("--workers=2", path, tmp_path))[0] == 0
    first, second = (json.loads((tmp_path / f"cores{index}").read_text()) for index in range(2))
    assert first
    assert second
    assert sorted(first + second) == sorted(os.sched_getaffinity(0))
