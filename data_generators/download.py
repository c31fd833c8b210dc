"""Fetches one file: heard of on its way, checked, and never half made under the final name."""

import hashlib
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path

from data_generators.errors import UserError
from data_generators.files import replacing
from data_generators.progress import progress

_CONNECT_SECONDS = 30
_CHUNK_BYTES = 1 << 16


class _AppearedError(Exception):
    """The file was put in its place by somebody else while it was fetched."""


def fetch(url: str, path: str | Path, sha256: str, size: int) -> None:
    """Downloads url to path, unless path exists already: an existing file is neither checked nor touched.

    Args:
        url: address of the file.
        path: where to put it; its folder is made if it does not exist.
        sha256: the file's SHA-256, in hexadecimal.
        size: the file's length in bytes; reading stops beyond it.

    Raises:
        UserError: the file cannot be reached or written, or it is another file than expected.
    """
    path = Path(path)
    try:
        if path.exists():
            return
        with replacing(path) as part:
            found = _download(url, part, size)
            if found != sha256:
                raise UserError(
                    f"What {url} sent is not the expected {path.name} (its SHA-256 is {found}, not {sha256}): try "
                    f"again, or get the file elsewhere and put it at {path}."
                )
            if path.exists():
                raise _AppearedError
    except _AppearedError:
        return
    except UserError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"{path} is missing and could not be downloaded ({error}): get it from {url} and put it there."
        ) from error


def _download(url: str, part: Path, size: int) -> str:
    """Writes what url sends, but never more than a chunk beyond size, to part; returns its SHA-256."""
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as response,
        open(part, "wb") as file,
        progress(size, f"Downloading {name}", "byte") as shown,
    ):
        received = 0
        while received <= size and (chunk := response.read(_CHUNK_BYTES)):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            shown.update(len(chunk))
    if received < size:
        raise ConnectionError(f"the connection broke after {received:,} of {size:,} bytes")
    return digest.hexdigest()
