"""Tests that a run removes the files that killed processes left in its folder, and no other files."""

import os
import subprocess
import sys

import pytest

from data_generators import files
from maml_tf.supervised import build
from tests.maml_tf.runs.stores import EXPERIMENT

DATA = ".data-00000-of-00001"


@pytest.fixture(scope="module")
def gone():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("resume", [True, False])
def test_next_run_removes_what_killed_ones_have_left(tiny_maml, tmp_path, gone, resume):
    store = build.store(tmp_path, tiny_maml, EXPERIMENT)
    whole = []
    if resume:
        for iteration in range(1, 12):
            build.store(tmp_path, tiny_maml, EXPERIMENT, keep=11).save(iteration)
        whole = [f"model{iteration}{ending}" for iteration in range(2, 12) for ending in (".index", DATA)]
    (tmp_path / "saving").mkdir()
    (tmp_path / "saving" / f"model12{DATA}").write_bytes(b"half")
    left = [f"model12{DATA}", f".test.csv.{gone}-{files._HOST}.part"]
    left += [f"test.pkl.{gone}.part", "gradient_cosine.csv.part"]
    others = [f"test.csv.{os.getppid()}.part", f".test.csv.{os.getppid()}-{files._HOST}.part"]
    others += ["model7.notes", "film.part", f"model12{DATA}.copy", "test.csv"]
    for name in (*left, *others):
        (tmp_path / name).write_bytes(b"half")
    assert store.start(resume) == (11 if resume else 0)
    store.end()
    assert sorted(os.listdir(tmp_path)) == sorted(whole + others)


def test_next_save_removes_the_data_that_a_kill_left_without_index(saved):
    store, folder, _ = saved
    (folder / "model5.index").unlink()
    store.save(15)
    assert sorted(file.name for file in folder.iterdir()) == [
        *(f"model10{DATA}", "model10.index", f"model15{DATA}", "model15.index")
    ]


def test_checkpoint_is_flushed_to_the_disk_before_it_is_moved_into_place(saved, monkeypatch):
    store, _, _ = saved
    flushed, fsync = set(), os.fsync

    def noting(descriptor):
        flushed.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    path = store.save(15)
    assert {os.stat(f"{path}{ending}").st_ino for ending in (".index", DATA)} <= flushed
