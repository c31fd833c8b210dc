"""Tests that one process at a time trains in a folder, and that a process that has ended in any way blocks no other."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_generators.errors import UserError
from maml_tf.export import refuse_unless_free
from maml_tf.runs import checkpoints, lock
from maml_tf.runs.lock import NAME, RunLock, make_writable
from maml_tf.supervised import build
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs.stores import EXPERIMENT

PROGRAM = """
import os, sys, time
from maml_tf.runs import lock
from maml_tf.runs.lock import RunLock
if sys.argv[2] == "without":
    lock.fcntl = None
held = RunLock(sys.argv[1])
{then}
print("held", flush=True)
time.sleep(60)
"""
FORK = "child = os.fork()\nif not child: print('child', flush=True); time.sleep(60)"


@pytest.fixture(params=["with", "without"])
def system(request, monkeypatch):
    """Whether the system has file locks: "with" or "without"."""
    if request.param == "without":
        monkeypatch.setattr(lock, "fcntl", None)
    return request.param


@pytest.fixture
def holder(system, tmp_path):
    """holder() starts a process that takes the lock and then runs the code `then`; waits for `lines` output lines."""
    processes = []

    def start(then="", lines=1):
        command = [sys.executable, "-c", PROGRAM.format(then=then), tmp_path, system]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        processes.append(process)
        assert all(process.stdout.readline() for _ in range(lines))
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its children
        process.communicate()


def test_another_process_is_refused_by_name(holder, tmp_path):
    process = holder()
    message = rf"another process trains in {tmp_path} \(process {process.pid} on host {platform.node()}\): wait for"
    with pytest.raises(UserError, match=message):
        RunLock(tmp_path)
    process.kill()
    process.wait()
    RunLock(tmp_path).release()  # a killed process blocks no other
    assert os.listdir(tmp_path) == []


def test_lock_is_removed_in_the_end_and_can_be_had_again(system, tmp_path):
    for _ in range(2):
        held = RunLock(tmp_path)
        assert (tmp_path / NAME).read_text() == f"{os.getpid()} {platform.node()}\n"
        held.release()
        held.release()
        assert os.listdir(tmp_path) == []


def test_children_do_not_keep_the_lock_of_their_parent(holder, tmp_path):
    process = holder(FORK, lines=2)
    process.kill()
    process.wait()
    RunLock(tmp_path).release()
    os.killpg(process.pid, signal.SIGKILL)  # the child was alive until now


def test_lock_of_a_child_is_none_of_the_parent_s(tmp_path):
    held = RunLock(tmp_path)
    child = os.fork()
    if not child:
        held.release()
        os._exit(0)
    os.waitpid(child, 0)
    command = [sys.executable, "-c", PROGRAM.format(then=""), tmp_path, "with"]
    assert "another process trains" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
    held.release()


def test_who_cannot_be_seen_counts_for_as_long_as_it_touches_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    (tmp_path / NAME).write_text("7 elsewhere\n")
    with pytest.raises(UserError, match="process 7 on host elsewhere"):
        RunLock(tmp_path)
    (tmp_path / NAME).write_text("")  # as on a full disk
    with pytest.raises(UserError, match="its number is not known"):
        RunLock(tmp_path)
    os.utime(tmp_path / NAME, (time.time() - 700,) * 2)
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.01)
    held = RunLock(tmp_path)
    os.utime(tmp_path / NAME, (1, 1))
    time.sleep(0.2)
    assert os.stat(tmp_path / NAME).st_mtime > 1
    held.release()


def test_run_of_another_process_is_neither_resumed_nor_put_aside(holder, tiny_maml, tmp_path):
    store = build.store(tmp_path, tiny_maml, EXPERIMENT)
    store.save(5)
    holder()
    before = snapshot(tmp_path)
    for resume in (True, False):
        with pytest.raises(UserError, match="another process trains in"):
            store.start(resume)
    assert store.restore() == 5  # reading needs no lock
    assert snapshot(tmp_path) == before


def test_lock_is_held_from_the_begin_to_the_end_also_where_an_earlier_run_is_put_aside(system, tiny_maml, tmp_path):
    store = build.store(tmp_path / "run", tiny_maml, EXPERIMENT)
    for resume in (True, False):
        store.start(resume)
        assert (tmp_path / "run" / NAME).exists()
        store.save(5)
        store.end()
    assert {path.name for path in (tmp_path / "run.old1").iterdir()} == {"model5.index", "model5.data-00000-of-00001"}
    assert not (tmp_path / "run" / NAME).exists()
    assert checkpoints.available(tmp_path / "run") == [5]


def test_lock_ends_with_whoever_holds_it(tiny_maml, tmp_path):
    store = build.store(tmp_path, tiny_maml, EXPERIMENT)
    store.start(True)
    del store
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("runs [1]", "which TensorFlow takes for a pattern"),
        ("back\\slash", "which TensorFlow takes for a pattern"),
        ("gs:/bucket/logs", "looks like an address"),  # as Path has gs://bucket/logs
        ("a\0b", "holds a NUL byte"),
        ("a\udcff", "is not UTF-8"),
    ],
)
def test_names_that_cannot_be_read_back_are_refused(tmp_path, monkeypatch, name, why):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"{why}.*: choose another --logdir"):
        make_writable(Path(name))
    with pytest.raises(UserError, match=rf"{why}.*: name another"):
        refuse_unless_free(name)
    assert not list(tmp_path.iterdir())
