"""Reads what a command has left in a folder, in a form that can be compared to the last bit."""

import csv
import fnmatch
import hashlib
import io
import json
from pathlib import Path

import numpy as np

# Files that are not compared: they differ from run to run, as TensorBoard's logs do, or are read through others.
_SKIPPED = ("events.*", "*.lock", ".*lock*", "*.data-00000-of-00001", "saved_model.pb", "fingerprint.pb")
_LEFT = ("*.part", "saving", "saving*", "*.tmp")


def hash_of(contents):
    """A short hash of some bytes."""
    return hashlib.sha256(contents).hexdigest()[:16]


def outcome(folder, below):
    """Reads each file below some folders: every array of a checkpoint, all columns of a table but seconds.

    Args:
        folder: where the command ran.
        below: names of the folders, or patterns of the files, with its results.

    Returns:
        {file name: contents in a form that can be compared}.
    """
    folder, found = Path(folder), {}
    for path in (path for pattern in below for path in files(folder, pattern)):
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in _SKIPPED):
            name = path.relative_to(folder).as_posix()
            found[_without_fingerprint(name)] = _contents(path)
    return found


def files(folder, pattern):
    """The files that match a pattern, and those below the folders that match it, sorted."""
    paths = [path for found in Path(folder).glob(pattern) for path in (found, *found.rglob("*"))]
    return sorted(path for path in paths if path.is_file())


def leftovers(folder):
    """The files and folders that only a killed process may leave."""
    paths = Path(folder).rglob("*")
    return sorted(p.relative_to(folder).as_posix() for p in paths if any(fnmatch.fnmatch(p.name, n) for n in _LEFT))


def differing(found, expected):
    """The names of the files that differ between two outcomes, or are in only one of them."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def _contents(path):
    if path.suffix == ".index":
        return _arrays_of_checkpoint(path.with_suffix(""))
    contents = path.read_bytes()
    try:
        if path.suffix == ".npz":
            return _arrays_of_npz(contents)
        if path.suffix == ".csv":
            return _rows(contents)
        if path.suffix == ".json":
            return _without_times(json.loads(contents))
    except Exception as error:  # a damaged file is compared as bytes
        return f"{type(error).__name__} {hash_of(contents)}"
    return hash_of(contents)


def _arrays_of_checkpoint(path):
    from tests.maml_tf.small_runs import contents  # loads TensorFlow

    hashes = {name: hash_of(np.asarray(value).tobytes()) for name, value in contents(path).items()}
    if path.parent.name == "variables":  # in an export, the order varies
        return sorted(hashes.values())
    return hashes


def _arrays_of_npz(contents):
    with np.load(io.BytesIO(contents), allow_pickle=False) as arrays:
        found = dict(arrays)
    texts = {
        name: _without_times(json.loads(str(value)))
        for name, value in found.items()
        if value.dtype.kind == "U" and value.ndim == 0
    }
    return {name: texts.get(name) or hash_of(np.ascontiguousarray(value).tobytes()) for name, value in found.items()}


def _rows(contents):
    rows = csv.DictReader(io.StringIO(contents.decode(), newline=""))
    return [{name: value for name, value in row.items() if "seconds" not in str(name)} for row in rows]


def _without_times(made):
    """Leaves out the entries that depend on when the source files were written."""
    if not isinstance(made, dict):
        return made
    return {name: value for name, value in made.items() if name not in ("from", "fingerprint", "seconds", "images")}


def _without_fingerprint(name):
    """Leaves out the fingerprint, as in decoded_train_84x84x3.0123456789abcdef.npy: it depends on file times."""
    parts = name.split(".")
    return ".".join(parts[:-2] + parts[-1:]) if name.endswith(".npy") and len(parts) > 2 else name
