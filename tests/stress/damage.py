"""Ways to damage a file: each function takes its bytes and a random.Random and returns other bytes."""

import io
import random
import tarfile
import zipfile


def flip(contents: bytes, chance: random.Random) -> bytes:
    """Changes one bit."""
    if not contents:
        return b"\1"
    position = chance.randrange(len(contents))
    return contents[:position] + bytes([contents[position] ^ 1 << chance.randrange(8)]) + contents[position + 1 :]


def overwrite(contents: bytes, chance: random.Random) -> bytes:
    """Replaces a few bytes in a row by random ones."""
    position = chance.randrange(max(1, len(contents)))
    noise = chance.randbytes(chance.randint(1, 16))
    return contents[:position] + noise + contents[position + len(noise) :]


def truncate(contents: bytes, chance: random.Random) -> bytes:
    """Cuts off the end."""
    return contents[: chance.randrange(max(1, len(contents)))]


def extend(contents: bytes, chance: random.Random) -> bytes:
    """Appends something to the end."""
    return contents + chance.choice([b"\0" * 700, chance.randbytes(99), b"\n\n", contents])


def cut(contents: bytes, chance: random.Random) -> bytes:
    """Removes some bytes in the middle."""
    position = chance.randrange(max(1, len(contents)))
    return contents[:position] + contents[position + chance.randint(1, 600) :]


def empty(contents: bytes, chance: random.Random) -> bytes:
    """Removes all bytes."""
    return b""


def zeros(contents: bytes, chance: random.Random) -> bytes:
    """Makes all bytes zero from some position on, as a disk may after a loss of power. The length stays the same."""
    position = chance.choice([0, chance.randrange(max(1, len(contents)))])
    return contents[:position] + bytes(len(contents) - position)


def other_kind(contents: bytes, chance: random.Random) -> bytes:
    """Replaces the file by one of another kind."""
    html, script, pickled = b"<!DOCTYPE html><p>404 Not Found", b"#!/bin/sh\nexit 1\n", b"\x80\x04N."
    zipped = b"PK\x05\x06" + bytes(18)
    numbers = b"\x93NUMPY\x01\x00v\x00" + b"{" * 118
    return chance.choice([html, script, pickled, zipped, numbers, b"\x1f\x8b\x08" + bytes(9), b"{}", b"null", b"[]"])


BINARY = (flip, flip, flip, overwrite, truncate, truncate, extend, cut, empty, zeros, other_kind)


def wrong_text(contents: bytes, chance: random.Random) -> bytes:
    """Replaces a cell of a table, or a word of a JSON file, by something that does not belong there."""
    words = [b"", b"\0", b"nan", b"-1", b"1e999", b"9" * 5000, b"x" * 200_000, "ü€😀".encode(), b"\xff\xfe", b'"']
    words += [b"..", b"../../x", b"null", b"[1]", b"{}", b",,,", b"\r", b"a/b"]
    marks = [i for i, byte in enumerate(contents) if byte in b",\n:"] or [0]
    start = chance.choice(marks)
    end = next((i for i in marks if i > start), len(contents))
    return contents[: start + 1] + chance.choice(words) + contents[end:]


def half_row(contents: bytes, chance: random.Random) -> bytes:
    """Cuts the last line short, as a killed process may leave it."""
    return contents[: -chance.randint(2, 12)]


TEXT = (flip, wrong_text, wrong_text, wrong_text, half_row, truncate, extend, cut, empty, zeros, other_kind)


_LEADING_OUT = ["../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png"]


def unsafe_zip(contents: bytes, chance: random.Random) -> bytes:
    """Adds an entry that leads outside the folder, is there twice, or is a zip bomb."""
    file = io.BytesIO(contents)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        inside = [name for name in archive.namelist() if name.endswith(".png")]
        kind = chance.choice(["outside", "outside", "twice", "bomb"])
        if kind == "outside":
            archive.writestr(chance.choice(_LEADING_OUT), b"x")
        elif kind == "twice":
            archive.writestr(chance.choice(inside) + "", archive.read(chance.choice(inside)))
        else:
            archive.writestr("Latin/character01/0001_99.png", bytes(80 << 20))
    return file.getvalue()


def unsafe_tar(contents: bytes, chance: random.Random) -> bytes:
    """Adds an entry that leads outside the folder, or is a link or a device."""
    file = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(contents)) as whole, tarfile.open(fileobj=file, mode="w") as archive:
        for entry in whole:
            archive.addfile(entry, whole.extractfile(entry))
        evil = tarfile.TarInfo(chance.choice(_LEADING_OUT))
        kinds = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
        evil.type = chance.choice(kinds)
        evil.name = evil.name if evil.type == tarfile.REGTYPE else "n0000000100000001.jpg"
        evil.linkname = "/etc/passwd"
        archive.addfile(evil)
    return file.getvalue()


def pixels_only(name: str, whole: bytes, spoilt: bytes) -> bool:
    """Whether a tar or an image differs only where no checksum is: in the pixels of a JPEG, GIF, BMP, TIFF or WebP."""
    if len(whole) != len(spoilt) or name.endswith(".png"):
        return False
    changed = [i for i, pair in enumerate(zip(whole, spoilt, strict=True)) if pair[0] != pair[1]]
    if not name.endswith(".tar"):
        return not name.endswith(".jpeg") or spoilt[-2:] == whole[-2:]  # a JPEG's end marker
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        data = [(entry.offset_data, entry.offset_data + entry.size) for entry in archive]
    return all(any(start <= i < end for start, end in data) for i in changed)


def plausible_table(name: str, whole: bytes, spoilt: bytes) -> bool:
    """Whether a damaged table still has its columns, and numbers where numbers were: a table has no checksum."""
    try:
        was, now = ([line.split(",") for line in text.decode("utf-8-sig").splitlines()] for text in (whole, spoilt))
    except UnicodeDecodeError:
        return False
    if not now or was[0] != now[0] or len(was) < len(now) or "\0" in spoilt.decode():
        return False
    return all(
        len(row) == len(old) and all(_alike(*cells) for cells in zip(old, row, strict=True))
        for old, row in zip(was, now, strict=False)
    )


def plausible_beginning(name: str, whole: bytes, spoilt: bytes) -> bool:
    """Like `plausible_table`; also true for a table that only ends early, as its rows come at no fixed iterations."""
    return plausible_table(name, whole, spoilt) or (bool(spoilt) and whole.startswith(spoilt))


def _alike(old: str, new: str) -> bool:
    return _is_number(old) == _is_number(new) and bool(old) == bool(new)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
