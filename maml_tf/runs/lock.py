"""One training at a time in a folder: a lock that ends with its process; and what killed processes leave there."""

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
from data_generators.files import another_runs, remove_all_abandoned, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "training.lock"
_BEAT_SECONDS, _SILENT_SECONDS = 60, 600
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)

# Half-written files of earlier versions, most with the number of the process that wrote them.
_EARLIER = re.compile(r".+\.(?:csv|pkl|json|npz)(?:\.(?P<process>\d+))?\.part")

_locks = weakref.WeakSet()


class RunLock:
    """The right to train in a folder, which no two processes have at a time; reading needs none.

    A file in the folder says which process has it. The system locks that file, and unlocks it when the process ends,
    killed or not. Where there are no such locks, the file itself is the lock: it counts for as long as its process
    lives or, where that cannot be known, since it is on another machine, touches it.

    Args:
        folder: that exists.

    Raises:
        UserError: another process has the right, or the file cannot be written.
    """

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / NAME
        self._descriptor = self._file = None
        self._released = threading.Event()
        with writing(self._path, "choose another --logdir"):
            self._take()
        _locks.add(self)

    def moved(self, folder: str | Path) -> None:
        """Says that the folder has been renamed, its file with it."""
        self._path = Path(folder) / NAME

    def release(self) -> None:
        """Gives the right back and removes the file; without effect the second time."""
        self._released.set()
        with suppress(OSError):
            if self._file is not None and os.path.samestat(self._file, os.stat(self._path)):
                self._path.unlink()
        self.forget()

    def forget(self) -> None:
        """Lets go of the file, without any effect on other processes that hold it."""
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
            if self._is_there(descriptor):  # else who had the lock has just removed the file
                self._file = os.fstat(descriptor)
                _sign(descriptor)
            if self._file is None or without_system:
                os.close(descriptor)
            else:
                self._descriptor = descriptor
        if without_system:
            threading.Thread(target=self._beat, name="lock of the run", daemon=True).start()

    def _open(self):
        """(descriptor, whether the file is new)."""
        while True:
            with suppress(FileExistsError):
                return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
            with suppress(FileNotFoundError):  # removed just now
                return os.open(self._path, os.O_RDWR), False

    def _is_there(self, descriptor):
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        return False

    def _is_alive(self):
        """Whether the process that has written the file seems to live; for where the system has no locks."""
        process, host = _signature(self._path)
        if host == platform.node() and process and os.name == "posix":
            return process == os.getpid() or another_runs(process)
        with tempfile.TemporaryFile(dir=self._path.parent) as now, suppress(FileNotFoundError):
            # By the clock of the file system, which may be another machine's.
            return os.fstat(now.fileno()).st_mtime - os.stat(self._path).st_mtime < _SILENT_SECONDS
        return False

    def _is_ours(self):
        """Whether this process has the lock; not by its number, which is the same in other containers."""
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
            return  # who trains twice in one process takes turns
        process, host = _signature(self._path)
        who = f"process {process} on host {host}" if process else "its number is not known"
        raise UserError(
            f"another process trains in {self._path.parent} ({who}): wait for its end, stop it, or choose another "
            "--logdir"
        )


def make_writable(folder: Path) -> None:
    """Makes a folder, and finds out whether files can be written there; UserError if not."""
    try:
        str(folder).encode()  # TensorFlow takes no other names, which is better said now than at the first checkpoint
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have tried it at the same moment
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): choose another --logdir") from error
    except ValueError as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeError) else "holds a NUL byte"
        raise UserError(f"the name {str(folder)!r} {reason}: choose another --logdir") from error


def remove_leftovers(folder: str | Path) -> None:
    """Removes half-written files from the folder of a run, which nobody else may be training in."""
    remove_all_abandoned(folder)
    for part in Path(folder).glob("*.part"):
        earlier = _EARLIER.fullmatch(part.name)
        if earlier and not (earlier["process"] and another_runs(int(earlier["process"]))):
            with suppress(OSError):
                part.unlink()


def _lock(descriptor):
    """Whether the system has locked a file for us; None where it has no locks for it."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


def _sign(descriptor):
    with suppress(OSError):  # on a full disk, too, the file is a lock
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {platform.node()}\n".encode())


def _signature(path):
    """(process, host) of who has written a lock; (None, "") where that cannot be read."""
    with suppress(OSError, ValueError):
        process, _, host = path.read_text().strip().partition(" ")
        return int(process), host
    return None, ""


def _forget_all():
    for lock in list(_locks):
        lock.forget()


if hasattr(os, "register_at_fork"):  # else a child would hold its parent's lock beyond the parent's end
    os.register_at_fork(after_in_child=_forget_all)
