"""Fetches one file: a progress bar, a checksum, and never a half-made file under the final name."""

import hashlib
import os
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from data_generators.errors import UserError

_CONNECT_SECONDS = 30
_CHUNK_BYTES = 1 << 16


def fetch(url: str, path: str | Path, sha256: str, size: int) -> None:
    """Downloads url to path, unless path exists already: an existing file is neither checked nor touched.

    The bytes go to path + ".part", which becomes path when the checksum is right and is removed otherwise.

    Args:
        url: address of the file.
        path: where to put it; its folder is made if it does not exist.
        sha256: the file's SHA-256, in hexadecimal.
        size: the file's length in bytes; reading stops beyond it.

    Raises:
        UserError: the file cannot be reached or written, or it is another file than expected.
    """
    path = Path(path)
    if path.exists():
        return
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = _download(url, part, size)
        if found != sha256:
            raise UserError(
                f"What {url} sent is not the expected {path.name} (its SHA-256 is {found}, not {sha256}): try again, "
                f"or get the file elsewhere and put it at {path}."
            )
        if not path.exists():
            os.replace(part, path)
    except UserError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"{path} is missing and could not be downloaded ({error}): get it from {url} and put it there."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _download(url: str, part: Path, size: int) -> str:
    """Writes what url sends, but never more than a chunk beyond size, to part; returns its SHA-256."""
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as response,
        open(part, "wb") as file,
        tqdm(total=size, desc=part.stem, unit="B", unit_scale=True, disable=None) as progress,
    ):
        received = 0
        while received <= size and (chunk := response.read(_CHUNK_BYTES)):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            progress.update(len(chunk))
    if received < size:
        raise ConnectionError(f"the connection broke after {received:,} of {size:,} bytes")
    return digest.hexdigest()
