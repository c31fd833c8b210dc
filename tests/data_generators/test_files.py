"""Files are written whole or not at all, leftovers of killed processes are removed, and damage is one sentence."""

import os
import subprocess
import sys
import time
import zipfile

import pytest

from data_generators import files
from data_generators.errors import UserError
from data_generators.files import check_writable, reading, remove_abandoned, remove_all_abandoned, replacing


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "new" / "x.csv"
    for text in ("one", "two"):
        with replacing(path) as part:
            assert part.parent == path.parent
            part.write_text(text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["x.csv"]


def test_a_folder_takes_its_place(tmp_path):
    with replacing(tmp_path / "x") as part:
        part.mkdir()
        (part / "file").write_text("one")
    assert (tmp_path / "x" / "file").read_text() == "one"
    assert os.listdir(tmp_path) == ["x"]


def test_an_error_leaves_the_old_one(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def write():
        with replacing(path) as part:
            part.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("name", ["x.csv", "[x]*?.csv"])
def test_what_a_killed_process_left_is_removed(tmp_path, name):
    code = (
        "import os, sys; from data_generators.files import replacing\n"
        "with replacing(sys.argv[1]) as part:\n    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    path, other = tmp_path / name, tmp_path / f".other{name}.1-1.part"
    other.write_text("another's")
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert len(os.listdir(tmp_path)) == 2
    remove_abandoned(path)
    assert os.listdir(tmp_path) == [other.name]


def test_what_a_running_process_writes_is_left(tmp_path):
    parts = [tmp_path / f".x.{os.getppid()}-{files._HOST}.part", tmp_path / ".x.1234567-00000000.part"]
    for part in parts:
        part.write_text("half")
    remove_abandoned(tmp_path / "x")
    assert all(part.exists() for part in parts)
    os.utime(parts[1], (time.time() - 2e5,) * 2)  # no process anywhere has written to it for days
    remove_abandoned(tmp_path / "x")
    assert [part.exists() for part in parts] == [True, False]


def test_what_earlier_versions_left_is_removed(tmp_path):
    names = [
        "x.part",
        ".x.part",
        "x.7.part",
        "x.abc.npy.7.part",
        f".x.abc.npy.4194304-{files._HOST}.part",
        "x.zip.part",
    ]
    for name in names:
        (tmp_path / name).write_text("half")
    (tmp_path / ".x.8.part").mkdir()
    (tmp_path / "x.9.part").mkdir()
    os.utime(tmp_path / "x.9.part", (1, 1))
    for name in ("x.part", "x.7.part", "x.abc.npy.7.part", ".x.8.part"):
        remove_abandoned(tmp_path / "x")
        assert (tmp_path / name).exists()  # a process of that version may still be writing it, here or elsewhere
        os.utime(tmp_path / name, (time.time() - 4000,) * 2)
    remove_abandoned(tmp_path / "x")
    assert sorted(os.listdir(tmp_path)) == ["x.9.part", "x.zip.part"]  # a folder, and a user's half download


def test_whatever_killed_processes_left_in_a_folder_is_removed_and_nothing_else(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = tmp_path / f".export.{gone.pid}-{files._HOST}.part"
    ours.mkdir()
    (ours / "variables").write_text("half")
    others = [f".x.{os.getppid()}-{files._HOST}.part", ".film.2020.part", f"x.{gone.pid}-{files._HOST}.part", "x.part"]
    for name in others:
        (tmp_path / name).write_text("another's")
    os.utime(tmp_path / ".film.2020.part", (1, 1))
    remove_all_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(others)
    remove_all_abandoned(tmp_path / "nowhere")


def test_files_of_a_folder_are_flushed_before_it_takes_its_place(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    with replacing(tmp_path / "x") as part:
        (part / "deep").mkdir(parents=True)
        (part / "a").write_text("1")
        (part / "deep" / "b").write_text("22")
    assert sorted(flushed) == [1, 2]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            FileNotFoundError(2, "No such file"),
            "x is damaged or cannot be read ([Errno 2] No such file): put a whole one in its place.",
        ),
        (
            zipfile.BadZipFile("not a\n zip"),
            "x is damaged or cannot be read (not a zip): put a whole one in its place.",
        ),
        (NotImplementedError(), "x is damaged or cannot be read (NotImplementedError): put a whole one in its place."),
        (
            MemoryError("Unable to allocate 8 EiB"),
            "there is not enough memory to read x (Unable to allocate 8 EiB): free memory or, if the file is damaged, "
            "put a whole one in its place.",
        ),
        (UserError("as it is"), "as it is"),
    ],
)
def test_reading_says_one_sentence(error, message):
    def read():
        with reading("x"):
            raise error

    with pytest.raises(UserError) as raised:
        read()
    assert str(raised.value) == message


def test_reading_lets_bugs_and_interrupts_through():
    def read(error):
        with reading("x"):
            raise error

    for error in (AssertionError, KeyboardInterrupt):
        with pytest.raises(error):
            read(error)


def test_what_cannot_be_written_is_found_out_beforehand(tmp_path):
    check_writable(tmp_path / "new" / "x.csv")
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").write_text("mine")
    for path, message in (
        (tmp_path / "file" / "x.csv", r"cannot write to .*/file \(File exists\)"),
        (tmp_path / "new", r"cannot write .*/new \(Is a directory\)"),
        (tmp_path / ("x" * 300), r"cannot write .*x \(File name too long\)"),
        (".", r"cannot write \. \(Is a directory\)"),
        ("/", r"cannot write / \(Is a directory\)"),
    ):
        with pytest.raises(UserError, match=message):
            check_writable(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]
    with pytest.raises(IsADirectoryError), replacing("."):
        pass


def test_a_link_is_followed_and_a_device_is_written_itself(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with replacing("/dev/null") as part:
        part.write_text("gone")
    assert os.path.samefile(part, "/dev/null")
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]
