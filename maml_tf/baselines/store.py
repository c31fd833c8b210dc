"""The files of the baselines: the classifier, and figures that took long to compute."""

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from data_generators.errors import UserError
from data_generators.files import DAMAGE, reading, replacing
from maml_tf.evaluation import Evaluation

REMEDY = "delete it, or give another --logdir"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a npz in one piece; makes its folder.

    Raises:
        UserError: it cannot be written; an older one is left as it was.
    """
    _write(path, lambda file: np.savez(file, **arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """What `write_arrays` wrote, or None where there is no such file.

    Raises:
        UserError: it is damaged, or cannot be read.
    """
    with reading(path, REMEDY):
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (FileNotFoundError, NotADirectoryError):
            return None


class Figures:
    """Evaluations by a key, kept in a file, so that what was computed once is not computed again.

    Args:
        path: the file; one that is damaged, or of another classifier, is replaced.
        fingerprint: of the classifier.
    """

    def __init__(self, path: Path, fingerprint: str):
        self.path = path
        self._fingerprint = fingerprint
        self._known = self._read()

    def remember(self, key: str, compute: Callable[[], Evaluation]) -> Evaluation:
        """The Evaluation of a key: as it was kept, or else computed and kept.

        Raises:
            UserError: the file cannot be written.
        """
        if key not in self._known:
            found = _from_lists(_as_lists(compute()))
            self._known |= self._read() | {key: found}  # another process may have added some meanwhile
            figures = {key: _as_lists(evaluation) for key, evaluation in self._known.items()}
            made = {"classifier": self._fingerprint, "checksum": _checksum(figures), "figures": figures}
            _write(self.path, lambda file: file.write(json.dumps(made).encode()))
        return self._known[key]

    def _read(self):
        try:
            made = json.loads(self.path.read_text(encoding="utf-8"))
            figures, expected = made["figures"], _checksum(made["figures"])
            # Files of earlier versions have no checksum.
            if made["classifier"] != self._fingerprint or made.get("checksum", expected) != expected:
                return {}
            return {key: _from_lists(kept) for key, kept in figures.items()}
        except DAMAGE:
            return {}


def _as_lists(evaluation):
    lists = {"support": evaluation.support.tolist(), "query": evaluation.query.tolist()}
    return lists if evaluation.losses is None else lists | {"losses": evaluation.losses.tolist()}


def _from_lists(kept):
    """An Evaluation; whatever DAMAGE holds if that is not what `_as_lists` gave."""
    support, query = (np.array(kept[name], np.float64) for name in ("support", "query"))
    losses = np.array(kept["losses"], np.float64) if "losses" in kept else None
    if support.ndim != 1 or query.ndim != 2 or len(query) != len(support) or not query.size:
        raise ValueError("these are not figures of tasks")
    if losses is not None and losses.shape != query.shape:
        raise ValueError("these are not losses of tasks")
    return Evaluation("accuracy", support, query, losses=losses)


def _checksum(figures):
    return zlib.crc32(json.dumps(figures).encode())


def _write(path, write_to):
    try:
        with replacing(path) as part, open(part, "wb") as file:
            write_to(file)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another --logdir") from error
