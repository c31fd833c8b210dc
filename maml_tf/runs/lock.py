"""Lets only one process at a time train in a folder, and removes half-written files that killed processes left."""

import errno
import os
import platform
import re
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from data_generators.errors import UserError
from data_generators.files import another_runs, check_name, remove_all_abandoned, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "training.lock"
_BEAT_SECONDS, _SILENT_SECONDS = 60, 600
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)

# Names of half-written files of earlier versions; most contain the ID of the process that wrote them.
_EARLIER = re.compile(r".+\.(?:csv|pkl|json|npz)(?:\.(?P<process>\d+))?\.part")

_locks = weakref.WeakSet()


class RunLock:
    """The right to train in a folder, which only one process has at a time; reading needs no lock.

    A file in the folder names the process that has the lock. The operating system locks that file, and unlocks it when
    the process ends, even if it is killed. Where there are no such file locks, the file itself is the lock: it is valid
    as long as its process lives. If that cannot be checked, for example because the process runs on another machine,
    the file is valid as long as its process keeps touching it.

    Args:
        folder: an existing folder.

    Raises:
        UserError: another process has the lock, or the file cannot be written.
    """

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / NAME
        self._descriptor = self._file = None
        self._released = threading.Event()
        with writing(self._path, "choose another --logdir"):
            self._take()
        _locks.add(self)

    def moved(self, folder: str | Path) -> None:
        """Tells the lock that its folder has been renamed, together with the file in it."""
        self._path = Path(folder) / NAME

    def release(self) -> None:
        """Releases the lock and removes the file; a second call has no effect."""
        self._released.set()
        with suppress(OSError):
            if self._file is not None and os.path.samestat(self._file, os.stat(self._path)):
                self._path.unlink()
        self.forget()

    def forget(self) -> None:
        """Closes the file in this process; other processes that hold the file keep their lock."""
        descriptor, self._descriptor, self._file = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self):
        while self._file is None:
            descriptor, is_new = self._open()
            locked = _lock(descriptor)
            without_system = locked is None
            if without_system:
                locked = is_new or not self._is_alive()
            if not locked:
                os.close(descriptor)
                return self._refuse_unless_ours()
            if self._is_there(descriptor):  # otherwise the previous holder has just removed the file
                self._file = os.fstat(descriptor)
                _sign(descriptor)
            if self._file is None or without_system:
                os.close(descriptor)
            else:
                self._descriptor = descriptor
        if without_system:
            threading.Thread(target=self._beat, name="lock of the run", daemon=True).start()

    def _open(self):
        """Creates or opens the file; returns (descriptor, whether the file is new)."""
        while True:
            with suppress(FileExistsError):
                return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
            with suppress(FileNotFoundError):  # another process has just removed it
                return os.open(self._path, os.O_RDWR), False

    def _is_there(self, descriptor):
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        return False

    def _is_alive(self):
        """Whether the process that wrote the file seems to be alive; used where the system has no file locks."""
        process, host = _signature(self._path)
        if host == platform.node() and process and os.name == "posix":
            return process == os.getpid() or another_runs(process)
        with tempfile.TemporaryFile(dir=self._path.parent) as now, suppress(FileNotFoundError):
            # Both times come from the file system, whose clock may be another machine's.
            return os.fstat(now.fileno()).st_mtime - os.stat(self._path).st_mtime < _SILENT_SECONDS
        return False

    def _is_ours(self):
        """Whether this process has the lock; compares files, since a process in another container may have its ID."""
        with suppress(OSError):
            file = os.stat(self._path)
            return any(lock._file is not None and os.path.samestat(lock._file, file) for lock in list(_locks))
        return False

    def _beat(self):
        while not self._released.wait(_BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._path)

    def _refuse_unless_ours(self):
        if self._is_ours():
            return  # trainings within one process run one after the other
        process, host = _signature(self._path)
        who = f"process {process} on host {host}" if process else "its number is not known"
        raise UserError(
            f"another process trains in {self._path.parent} ({who}): wait for its end, stop it, or choose another "
            "--logdir"
        )


def make_writable(folder: Path) -> None:
    """Creates a folder and checks that files can be written there; raises UserError if not."""
    check_name(folder, "choose another --logdir")  # now rather than at the first checkpoint
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have removed it at the same moment
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}): choose another --logdir") from error


def remove_leftovers(folder: str | Path) -> None:
    """Removes half-written files from the folder of a run; no other process may be training there."""
    remove_all_abandoned(folder)
    for part in Path(folder).glob("*.part"):
        earlier = _EARLIER.fullmatch(part.name)
        if earlier and not (earlier["process"] and another_runs(int(earlier["process"]))):
            with suppress(OSError):
                part.unlink()


def _lock(descriptor):
    """Tries to lock a file; returns whether this process now has the lock, or None if the file cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


def _sign(descriptor):
    with suppress(OSError):  # on a full disk the file stays empty, but is still a lock
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {platform.node()}\n".encode())


def _signature(path):
    """Returns the (ID, host) of the process that wrote a lock file, or (None, "") if they cannot be read."""
    with suppress(OSError, ValueError):
        process, _, host = path.read_text().strip().partition(" ")
        return int(process), host
    return None, ""


def _forget_all():
    for lock in list(_locks):
        lock.forget()


if hasattr(os, "register_at_fork"):  # otherwise a child would keep its parent's lock after the parent ended
    os.register_at_fork(after_in_child=_forget_all)
