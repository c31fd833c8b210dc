"""The files of the baselines: the classifier, and figures that took long to compute."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from data_generators.errors import UserError
from maml_tf.evaluation import Evaluation


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a npz under another name and then puts it in place; makes its folder.

    Raises:
        UserError: it cannot be written; an older one is left as it was.
    """
    _replace(path, lambda file: np.savez(file, **arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """What `write_arrays` wrote, or None where there is no such file.

    Raises:
        UserError: it is damaged, or cannot be read.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): give another --logdir") from error
    except (EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged or not of this project: delete it, or give another --logdir") from error


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
            found = compute()
            self._known[key] = {"support": found.support.tolist(), "query": found.query.tolist()}
            contents = json.dumps({"classifier": self._fingerprint, "figures": self._known})
            _replace(self.path, lambda file: file.write(contents.encode()))
        kept = self._known[key]
        return Evaluation("accuracy", np.array(kept["support"]), np.array(kept["query"]))

    def _read(self):
        try:
            made = json.loads(self.path.read_text())
            return dict(made["figures"]) if made["classifier"] == self._fingerprint else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _replace(path, write_to):
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            write_to(file)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another --logdir") from error
    finally:
        with suppress(OSError):
            part.unlink()
