"""Reads published lists of the classes for training, validation and test.

They are a JSON file with the lists of all splits, as in Meta-Dataset:

    {"train": ["190.Red_cockaded_Woodpecker", ...], "valid": [...], "test": [...]}

or a folder with one file for each split, train, val and test (or base, val and novel), of one of these forms:

- .json: {"class_names": [...], "class_roots": [...]} (easy-few-shot-learning), {"label_names": [...], "image_names":
  [...], "image_labels": [...]} (CloserLookFewShot), or a plain list of names;
- .csv: a line for each image, with columns filename,label (Ravi and Larochelle) or class_name,image_name; only the
  labels or class names are used;
- .txt: one name per line (Bertinetto et al.).

A name is that of a folder of images. Spaces at its ends are ignored, several between words count as one, composed
characters equal decomposed ones (Unicode's NFC), and a / in it is a _ in the name of the folder.
"""

import csv
import hashlib
import itertools
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_generators.errors import UserError, listed
from data_generators.files import reading

SPLITS = ("train", "val", "test")
KNOWN_AS = {"train": "train", "base": "train", "val": "val", "valid": "val", "validation": "val"}
KNOWN_AS |= {"test": "test", "novel": "test"}
_LABELS = ("label", "class_name")  # columns
_REMEDY = "give lists of classes as UTF-8 text, in a form that docs/data.md shows"

Lists = dict[str, list[str]]  # sorted names of classes, by "train", "val" and "test"


def read_splits(path: str | Path) -> Lists:
    """Reads lists of classes.

    Args:
        path: path of the file or folder; or the result of `identified`.

    Returns:
        The sorted names of the classes, for each of "train", "val" and "test" that is listed.

    Raises:
        UserError: there are no lists, or they are malformed; a class is listed twice; a list is empty; or the lists
            are no longer those that were identified.
    """
    place, expected = _parted(path)
    with reading(place, _REMEDY):
        if not place.exists():
            raise UserError(f"there is no {place}: --splits takes a file or folder with lists of classes")
        found = _of_folder(place) if place.is_dir() else _of_file(place)
    lists = checked(found, str(place))
    if expected and expected != _identity(lists):
        raise UserError(f"the lists of {place} are not those of #{expected} any more: put them back, or leave #... out")
    return lists


def identified(path: str | Path) -> str:
    """The path and eight digits that identify its lists: "splits.json#1f2e3d4c"; errors as for `read_splits`.

    The order within a list does not matter. A path that already has its digits is returned as it is, and not read.
    """
    return str(path) if _parted(path)[1] else f"{path}#{_identity(read_splits(path))}"


def identity(path: str) -> str:
    """The eight digits in a result of `identified`."""
    return path.rpartition("#")[2]


def checked(found: Mapping[str, Iterable[str | int]], where: str) -> Lists:
    """Checks and sorts lists of classes by split; `where` they are from is for errors.

    Names may be numbers, as in VGG Flowers.

    Raises:
        UserError: a split is none of the three, a list is empty, or a class is listed twice.
    """
    lists: Lists = {}
    for name, names in found.items():
        if name not in KNOWN_AS:
            raise UserError(f"{where} lists the split {name!r}: splits are train, val (or valid) and test")
        if KNOWN_AS[name] in lists:
            raise UserError(f"{where} lists the split {KNOWN_AS[name]} twice: leave one list out")
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise UserError(f"{where} must have a list of class names for the split {name}, not {names!r}")
        lists[KNOWN_AS[name]] = sorted(map(str, names), key=key)
        if not lists[KNOWN_AS[name]]:
            raise UserError(f"{where} lists no class for the split {name}: add some, or leave the split out")
    if not lists:
        raise UserError(f"{where} lists no split: it must list the classes of train, val and test")
    twice = [name for names in lists.values() for name, count in Counter(map(key, names)).items() if count > 1]
    if twice:
        raise UserError(f"{where} lists classes twice in a split: {listed(twice)}; list each once")
    counts = Counter(key(name) for names in lists.values() for name in names)
    for name in (name for name, count in counts.items() if count > 1):
        both = " and ".join(split for split, names in lists.items() if name in map(key, names))
        more = sum(count > 1 for count in counts.values()) - 1
        others = f", and {more} more likewise" if more else ""
        raise UserError(f"{where} lists class {name} in {both}{others}: a class must be in one split only")
    return {split: lists[split] for split in SPLITS if split in lists}


def by_shares(number: int, shares: Sequence[float]) -> dict[str, list[int]]:
    """Divides the positions 0 ... number - 1 of classes into splits: shuffles them by random.Random(1), and cuts.

    Args:
        number: number of classes; --seed never moves a class from one split to another.
        shares: shares of training, validation and test; the last may be left out. They sum to 1.

    Example:
        >>> by_shares(5, (0.6, 0.2, 0.2))
        {'train': [2, 3, 4], 'val': [0], 'test': [1]}
    """
    order = list(range(number))
    random.Random(1).shuffle(order)
    cuts = [round(number * share) for share in itertools.accumulate(shares, initial=0)]
    return {split: order[start:end] for split, start, end in zip(SPLITS, cuts, cuts[1:], strict=False)}


def only_numbered(names: Iterable[str]) -> bool:
    """Whether the classes of a split are just numbered from 0, so that equal names in two splits say nothing."""
    names = list(names)
    return set(names) == set(map(str, range(len(names))))


def key(name: str) -> str:
    """Normalises a name, so that a name in a list and the name of its folder become equal."""
    return " ".join(unicodedata.normalize("NFC", name).split()).replace("/", "_")


def _parted(path):
    """Splits a path from the identity after it, which is None if there is none."""
    found = re.fullmatch(r"(.+)#([0-9a-f]{8})", str(path), re.DOTALL)
    with suppress(OSError, ValueError):  # names that no file can have
        found = None if Path(path).exists() else found
    return (Path(found[1]), found[2]) if found else (Path(path), None)


def _identity(lists):
    keys = {split: sorted(map(key, names)) for split, names in lists.items()}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:8]


def _of_folder(folder):
    readers = {".json": _json_of_one, ".csv": _csv, ".txt": _txt}
    files = sorted(f for f in folder.iterdir() if f.stem.lower() in KNOWN_AS and f.suffix.lower() in readers)
    if not files:
        raise UserError(f"{folder} has no lists of classes: put train, val and test there as .json, .csv or .txt")
    found: Lists = {}
    for file in files:
        split = file.stem.lower()
        if split in found:
            raise UserError(f"{folder} has several lists of the split {split}: keep one of them")
        with reading(file, _REMEDY):
            found[split] = readers[file.suffix.lower()](file)
    return found


def _of_file(file):
    if file.stem.lower() in KNOWN_AS:
        raise UserError(f"{file} lists one split: give --splits its folder, {file.parent}, which has them all")
    if file.suffix.lower() in (".csv", ".txt"):
        kind = file.suffix.lower()
        raise UserError(f"{file} must be a file of JSON, or a folder with train{kind}, val{kind} and test{kind}")
    found = _json(file)
    if not isinstance(found, dict):
        raise UserError(f'{file} must have a list of classes for each split: {{"train": [...], "valid": [...], ...}}')
    return {split: _names(names, file) if split in KNOWN_AS else names for split, names in found.items()}


def _json(file):
    return json.loads(_text(file), object_pairs_hook=_once)


def _once(pairs):
    """Makes a dict, and refuses a key twice: Python's json would use the last of several lists of a split."""
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"it has {twice[0]!r} twice")
    return dict(pairs)


def _json_of_one(file):
    found = _json(file)
    if not isinstance(found, dict):
        return _names(found, file)
    if "image_labels" in found:
        names, labels = dict(enumerate(_names(found.get("label_names"), file))), set(found["image_labels"])
        if unnamed := labels - names.keys():
            raise ValueError(f"it has no name for the label {min(unnamed)}")
        return sorted(names[label] for label in labels)
    names, folders = found.get("class_names"), found.get("class_roots")
    if folders is None:
        return _names(names, file)
    return [re.split(r"[/\\]", folder.rstrip("/\\"))[-1] for folder in _names(folders, file)]


def _names(names, file):
    """Checks a list of names, which may be numbers as in VGG Flowers, and converts them to text."""
    if not isinstance(names, list) or not all(type(name) in (str, int) for name in names):
        raise UserError(f"{file} must have lists of class names, as docs/data.md shows them")
    return [str(name) for name in names]


def _csv(file):
    table = csv.DictReader(_text(file).splitlines(), skipinitialspace=True)
    column = next((name for name in _LABELS if name in (table.fieldnames or ())), None)
    if column is None:
        raise UserError(f"{file} has no column label: its first line must be filename,label")
    labels = dict.fromkeys(row[column] for row in table)
    if None in labels or "" in labels:
        raise UserError(f"{file} has a line without a label: each must be as its first, {','.join(table.fieldnames)}")
    return list(labels)


def _txt(file):
    return [name for line in _text(file).splitlines() if (name := line.strip())]


def _text(file):
    return file.read_text(encoding="utf-8-sig")
