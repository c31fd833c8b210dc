"""Reads and writes files: an error becomes one sentence for the user, and a file is never left half written."""

import csv
import errno
import itertools
import lzma
import os
import platform
import re
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

# What Python, zipfile, tarfile and NumPy raise for damaged files. For example, NumPy reads its headers with tokenize,
# and a damaged header may ask for more memory than there is.
DAMAGE: tuple[type[Exception], ...] = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError)
DAMAGE += (AttributeError, OverflowError, struct.error, zlib.error, lzma.LZMAError, csv.Error, zipfile.BadZipFile)
DAMAGE += (tarfile.TarError, TokenError, SyntaxError, MemoryError)


def _host() -> str:
    """Eight digits that identify this machine or container: numbers of processes are unique only within one."""
    namespace = 0
    with suppress(OSError):
        namespace = os.stat("/proc/self/ns/pid").st_ino  # Linux only
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


_HOST = _host()
_ABANDONED_SECONDS = 24 * 3600  # a file that was not written to for this long is abandoned, on any machine
_EARLIER_SECONDS = 3600  # the same for files of earlier versions, whose names do not have the machine


@contextmanager
def reading(path: str | Path, remedy: str = "put a whole one in its place") -> Iterator[None]:
    """Turns any error while a file is read into one sentence.

    Args:
        path: path of the file, for the sentence.
        remedy: what the user can do.

    Raises:
        UserError: in place of everything in DAMAGE.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        why = f"there is not enough memory to read {path} ({_reason(error)})"
        raise UserError(f"{why}: free memory or, if the file is damaged, {remedy}.") from error
    except DAMAGE as error:
        raise UserError(f"{path} is damaged or cannot be read ({_reason(error)}): {remedy}.") from error


@contextmanager
def writing(path: str | Path, remedy: str = "") -> Iterator[None]:
    """Turns any error while a file is written into one sentence.

    Args:
        path: path of the file, for the sentence.
        remedy: what the user can do; without it, the sentence gives only the reason.

    Raises:
        UserError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error})" + (f": {remedy}" if remedy else "")
        ) from error


@contextmanager
def replacing(path: str | Path, durable: bool = True, tidy: bool = True) -> Iterator[Path]:
    """Yields a temporary path to write a file or folder to, and then renames it to `path`: the whole or nothing.

    The parent folder is made if it does not exist.

    Args:
        path: path of the file, or of a folder, which must be empty or not exist. A link is followed. What is neither
            file nor folder, such as /dev/null, is written directly.
        durable: whether to flush it to the disk before it is renamed, so that even a loss of power cannot leave it half
            written.
        tidy: whether to remove what killed processes have left; this takes milliseconds if the folder has hundreds of
            files.

    Raises:
        OSError: it cannot be written; what was at `path` stays as it was.
    """
    path = _followed(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if tidy:
        remove_abandoned(path)
    part = _part(path)
    try:
        yield part
        if durable:
            flush(part)
        os.replace(part, path)
    finally:
        _remove(part)


def check_writable(path: str | Path) -> None:
    """Makes a file's folder, and checks that `replacing` can write the file, before any work for it is done.

    Raises:
        UserError: it cannot be written.
    """
    path = _followed(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path.parent} ({error.strerror or error})") from error
    with writing(path):
        if path.is_dir():
            raise _is_a_folder()
        _part(path).touch()
        _remove(_part(path))


def check_name(path: str | Path, remedy: str) -> None:
    """Refuses a name of a file or folder that TensorFlow could not read back.

    It takes a name with "[" or, on POSIX, a backslash for a pattern; and the address of a bucket, as Path has it, would
    be a folder here.

    Raises:
        UserError: the name is such a one, not UTF-8, or holds a NUL byte; `remedy` is what the user can do.
    """
    name = str(path)
    try:
        name.encode()
        why = "holds a NUL byte" if "\0" in name else ""
    except UnicodeError:
        why = "is not UTF-8"
    if "[" in name or (os.sep == "/" and "\\" in name):
        why = "holds a [ or \\, which TensorFlow takes for a pattern when it reads"
    if re.match(r"\w{2,}:[/\\]", name):
        why = "looks like an address, and not like the path of a folder"
    if why:
        raise UserError(f"the name {name!r} {why}: {remedy}")


def remove_abandoned(path: str | Path) -> None:
    """Removes what ended processes have left of `replacing(path)`, or of a path that begins with this and a dot.

    The temporary files of earlier versions, <name>.part and <name>.<process>.part, are removed too.
    """
    path = _followed(path)
    beginnings = f".{path.name}.", f"{path.name}."
    with suppress(OSError):
        for name in os.listdir(path.parent):  # a glob takes ten times as long in a folder of many images
            part = path.parent / name
            process = re.search(r"\.(\d+)(?:-(\w+))?\.part$", name)
            if process and process[2] and name.startswith(beginnings[0]):
                _remove_if_abandoned(part, *process.groups())
            elif name == f".{path.name}.part":  # an earlier version wrote no process
                _remove(part)
            elif name == f"{path.name}.part" or (process and name.startswith(beginnings)):
                _remove_if_earlier(part)


def remove_all_abandoned(folder: str | Path) -> None:
    """Removes what ended processes have left of `replacing` any path in a folder."""
    with suppress(OSError):
        for part in Path(folder).glob(".*.part"):
            if ours := re.fullmatch(r"\..+\.(\d+)-([0-9a-f]{8})\.part", part.name):
                _remove_if_abandoned(part, *ours.groups())


def _remove_if_abandoned(part: Path, process: str, host: str) -> None:
    gone = host == _HOST and not another_runs(int(process))
    if gone or time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
        _remove(part)


def _remove_if_earlier(part: Path) -> None:
    """Removes an old file; the name may be the user's, so visible folders and files recently written are left alone."""
    if (part.is_file() or part.name.startswith(".")) and time.time() - part.stat().st_mtime > _EARLIER_SECONDS:
        _remove(part)


def free_name(path: str | Path, ending: str) -> Path:
    """The first free name of <path>.<ending>1, <path>.<ending>2, ..., for something that is put aside."""
    names = (Path(f"{path}.{ending}{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def flush(path: Path) -> None:
    """Flushes a file, or all files of a folder, to the disk."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDWR)  # Windows flushes no file that is open for reading only
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _followed(path: str | Path) -> Path:
    """Returns where a link leads, or the path itself if it is no link."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def _part(path: Path) -> Path:
    if not path.name:  # "." or "/"
        raise _is_a_folder()
    return path.with_name(f".{path.name}.{os.getpid()}-{_HOST}.part")


def _is_a_folder() -> OSError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def another_runs(process: int) -> bool:
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


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
