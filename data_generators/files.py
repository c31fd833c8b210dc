"""Files that are read or written: damage becomes one sentence, and a file is never half written."""

import csv
import errno
import glob
import lzma
import os
import platform
import shutil
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError

from data_generators.errors import UserError

# What Python, zipfile, tarfile and NumPy raise for damaged files: NumPy's headers, for one, go through tokenize.
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError)
DAMAGE += (struct.error, zlib.error, lzma.LZMAError, csv.Error, zipfile.BadZipFile, tarfile.TarError)
DAMAGE += (TokenError, SyntaxError, MemoryError)

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"  # of shared folders, where another machine has other processes
_ABANDONED_SECONDS = 24 * 3600  # what nobody has written to for so long has been left, on whatever machine


@contextmanager
def reading(path: str | Path, remedy="put a whole one in its place") -> Iterator[None]:
    """Turns whatever can go wrong while a file is read into one sentence.

    Args:
        path: of the file, for the sentence.
        remedy: what the user can do.

    Raises:
        UserError: in place of everything in DAMAGE.
    """
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or cannot be read ({reason}): {remedy}.") from error


@contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Gives another name to write a file or folder under, which then takes the place of `path`, whole or not at all.

    The folder that it stands in is made if need be. What processes that were killed here have left is removed.

    Args:
        path: of the file; or of a folder, which must then be empty or not be there.
        durable: flush a file to the disk before it is renamed, so that not even a loss of power leaves it half written.

    Raises:
        OSError: it cannot be written; what was at `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    part = _part(path)
    try:
        yield part
        if durable and part.is_file():
            flush(part)
        os.replace(part, path)
    finally:
        _remove(part)


def check_writable(path: str | Path) -> None:
    """Makes a file's folder, and finds out before the work for the file whether `replacing` can write it.

    Raises:
        UserError: it cannot.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path.parent} ({error.strerror})") from error
    try:
        if path.is_dir():
            raise _is_a_folder()
        _part(path).touch()
        _remove(_part(path))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error


def remove_abandoned(path: str | Path) -> None:
    """Removes what processes that are gone have left of `replacing(path)`."""
    path = Path(path)
    with suppress(OSError):
        for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            process, _, host = part.name[len(path.name) + 2 : -len(".part")].partition("-")
            gone = host == _HOST and process.isdecimal() and not _another_runs(int(process))
            if gone or time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                _remove(part)


def flush(path: Path) -> None:
    """Has the system write a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(path):
    if not path.name:  # "." or "/"
        raise _is_a_folder()
    return path.with_name(f".{path.name}.{os.getpid()}-{_HOST}.part")


def _is_a_folder():
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _another_runs(process: int) -> bool:
    """Whether there is a process of this number, other than this one."""
    if process == os.getpid() or os.name != "posix":
        return process != os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove(part: Path) -> None:
    with suppress(OSError):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink()
