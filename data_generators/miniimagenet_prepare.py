"""Puts the images of miniImagenet where the csv files of Ravi and Larochelle (2017) say: <split>/<class>/<image>.

The images come from folders, however deep, from tars and from zips; nothing is extracted. As the original's
data/miniImagenet/proc_images.py does, larger images are resized with the Lanczos filter, whatever their proportions,
and saved as JPEG of Pillow's usual quality (75). Images of 84x84 pixels are copied byte for byte, where the original
compressed them once more.
"""

import csv
import functools
import io
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_generators import archives
from data_generators.class_folders import is_image, is_visible, list_splits, refuse_outside
from data_generators.decoding import Decoder, open_image
from data_generators.errors import UserError
from data_generators.files import reading, remove_abandoned, replacing
from data_generators.miniimagenet import CSV_URL, SIDE, SUFFIXES
from data_generators.progress import progress
from data_generators.splits import SPLITS
from data_generators.zipped import MAX_BYTES, SUFFIX, Zip


class SourceImage(NamedTuple):
    """An image that was found.

    name: as in Ravi and Larochelle's csv files, n0153282900000005.jpg for example.
    where: name of the image in errors.
    read: function that returns its bytes; for an image in an archive, to be called before the next is requested.
    """

    name: str
    where: str
    read: Callable[[], bytes]


def images_in(source: Path, skip: Collection[Path] = ()) -> Iterator[SourceImage]:
    """Finds the images in a tar or zip, or in a folder, the folders below it, and the archives directly in it.

    Images in ImageNet's own folders, <class>/<class>_<number>.JPEG, get the names that the csv files have: their class
    and their position, from 1, in the order of the numbers. The names are right only if no image of a class is missing.

    Args:
        source: the archive or folder.
        skip: folders to leave out.

    Raises:
        UserError: source does not exist, is neither a folder nor an archive, or is damaged; or it holds what no archive
            of images needs: links, devices, very long files, or names that lead outside its folder.
    """
    with reading(source):
        is_folder, is_file = source.is_dir(), source.is_file()
    if is_folder:
        yield from _in_folder(source, {os.path.realpath(folder) for folder in skip})
        for file in _archives_in(source):
            yield from _in_archive(file)
    elif is_file:
        yield from _in_archive(source)
    else:
        raise UserError(f"{source} does not exist: give --source the folder or tar that holds the images.")


def _archives_in(folder: Path) -> list[Path]:
    with reading(folder):
        suffixes = (*archives.SUFFIXES, SUFFIX)
        names = sorted(name for name in os.listdir(folder) if is_visible(name) and name.lower().endswith(suffixes))
        return [folder / name for name in names if (folder / name).is_file()]


def _in_folder(source: Path, skip: Collection[str]) -> Iterator[SourceImage]:
    for path, folders, files in os.walk(source, onerror=_refuse_unreadable):
        folder = Path(path)
        folders[:] = sorted(
            name for name in folders if is_visible(name) and os.path.realpath(folder / name) not in skip
        )
        for name, file in _named_as_in_the_csv(folder.name, sorted(files)):
            if is_image(file, SUFFIXES):
                yield SourceImage(name, str(folder / file), functools.partial(_contents, folder / file))


def _named_as_in_the_csv(label: str, files: list[str]) -> Iterator[tuple[str, str]]:
    numbers = {file: re.fullmatch(rf"{re.escape(label)}_(\d+)\.JPEG", file) for file in files}
    numbered = sorted((int(match[1]), file) for file, match in numbers.items() if match)
    yield from ((file, file) for file, match in numbers.items() if not match)
    yield from ((f"{label}{position:08d}.jpg", file) for position, (_, file) in enumerate(numbered, start=1))


def _contents(path: Path) -> bytes:
    with reading(path):
        if not path.is_file():
            raise UserError(f"{path} is not a file: remove it.")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is longer than {MAX_BYTES:,} bytes, so it is not an image of this data set.")
        return path.read_bytes()


def _in_archive(path: Path) -> Iterator[SourceImage]:
    yield from (_in_zip if path.name.lower().endswith(SUFFIX) else _in_tar)(path)


def _in_zip(path: Path) -> Iterator[SourceImage]:
    archive = Zip(path)
    archive.check()
    for entry in archive.names:
        name = entry.rpartition("/")[2]
        if is_image(name, SUFFIXES):
            yield SourceImage(name, f"{path}: {entry}", functools.partial(archive.read, entry))


def _in_tar(path: Path) -> Iterator[SourceImage]:
    for archive, entry in archives.members(path):
        _refuse_unsafe(path, entry)
        *folders, name = entry.name.split("/")
        if entry.isfile() and all(map(is_visible, folders)) and is_image(name, SUFFIXES):
            read = functools.partial(_member, archive, entry, path)
            yield SourceImage(name, f"{path}: {entry.name}", read)


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> bytes:
    with reading(path), archive.extractfile(entry) as file:
        return file.read()


def _refuse_unreadable(error: OSError) -> None:
    with reading(error.filename):
        raise error


def _refuse_unsafe(path: Path, entry: tarfile.TarInfo) -> None:
    refuse_outside(path, entry.name)
    if not (entry.isfile() or entry.isdir()):
        raise UserError(f"{path} is not safe: its entry {entry.name!r} is a link or a device.")
    if entry.size > MAX_BYTES:
        raise UserError(f"{path}: {entry.name} is longer than {MAX_BYTES:,} bytes, so it is not an image.")


class Prepared(NamedTuple):
    """The result of the preparation.

    wanted: number of images in the csv file of each split.
    missing: images of each split's csv file that are missing, by split.
    unused: images of the sources that are in no csv file; they were left out.
    strangers: images below data_dir that are in no csv file, but that training will use as part of the data set.
    """

    wanted: dict[str, int]
    missing: dict[str, list[str]]
    unused: list[str]
    strangers: list[Path]


def prepare_miniimagenet(data_dir: Path, sources: Sequence[Path], csv_dir: Path, resize: bool = False) -> Prepared:
    """Makes data_dir/{train,val,test}/<class>/<image>; correct files that exist already are left alone.

    Every image is checked to be whole. After an interruption, the same call resumes.

    Args:
        data_dir: the folder to make.
        sources: folders, tars or zips of the images; see `images_in`. If several images have one name, the first is
            used.
        csv_dir: the folder of train.csv, val.csv and test.csv.
        resize: whether to shrink images of other sizes to 84x84 pixels; otherwise they are an error.

    Raises:
        UserError: a csv file or a source is missing or malformed, an image is damaged or of another size, none of the
            images was found, or they cannot be written.
    """
    rows = {split: read_csv(csv_dir / f"{split}.csv") for split in SPLITS}
    targets: dict[str, list[Path]] = {}
    for split, pairs in rows.items():
        for name, label in pairs:
            targets.setdefault(name, []).append(data_dir / split / label / name)
    unused = _put_in_place(targets, data_dir, sources, resize)
    there = {path for folders in list_splits(data_dir, SUFFIXES).values() if folders for path in folders.paths()}
    wanted = {path for paths in targets.values() for path in paths}
    if not there & wanted:
        raise UserError(
            f"none of the {len(targets):,} images of the csv files in {csv_dir} is in {' or '.join(map(str, sources))}."
        )
    missing = {
        split: [name for name, label in pairs if data_dir / split / label / name not in there]
        for split, pairs in rows.items()
    }
    return Prepared({split: len(pairs) for split, pairs in rows.items()}, missing, unused, sorted(there - wanted))


def read_csv(path: Path) -> list[tuple[str, str]]:
    """Reads (name, class) of each image from one of the csv files, which have the columns filename and label.

    Raises:
        UserError: the file is missing or malformed, or a name in it cannot be the name of a file.
    """
    with reading(path):
        is_there = path.is_file()
    if not is_there:
        raise UserError(f"{path} is missing: get train.csv, val.csv and test.csv from {CSV_URL} and put them there.")
    with reading(path), open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        absent = [column for column in ("filename", "label") if column not in (table.fieldnames or ())]
        if absent:
            raise UserError(f"{path} has no column {absent[0]!r}: its first line must be filename,label.")
        rows = [(row["filename"], row["label"]) for row in table]
    for number, row in enumerate(rows, start=2):
        for name in row:
            if not _is_name(name):
                raise UserError(f"line {number} of {path} has {name!r} where the name of an image or a class must be.")
    return rows


def _is_name(name: str | None) -> bool:
    """Whether this can be the name of a visible file or folder, without any folder before it."""
    return bool(name) and is_visible(name) and "\0" not in name and Path(name.replace("\\", "/")).name == name


def _put_in_place(targets: dict[str, list[Path]], data_dir: Path, sources: Sequence[Path], resize: bool) -> list[str]:
    """Copies or resizes every image in targets; returns the images that are not, for messages."""
    decoder = Decoder(SIDE, 3, resize=resize, formats=None if resize else ["JPEG"])
    _tidy([target for paths in targets.values() for target in paths])
    done: set[str] = set()
    unused = []
    with progress(len(targets), "Preparing miniImagenet", "image") as shown:
        for source in sources:
            for image in images_in(source, skip=[data_dir / split for split in SPLITS]):
                if image.name not in targets:
                    unused.append(image.where)
                elif image.name not in done:
                    _put(image, targets[image.name], decoder, resize)
                    done.add(image.name)
                    shown.update()
    if resize:
        decoder.report()  # images that were only copied are converted, and reported, when they are loaded
    return unused


def _tidy(targets: Collection[Path]) -> None:
    """Removes what killed preparations left, only in folders that have such files: each removal lists its folder."""
    littered = {folder for folder in {target.parent for target in targets} if any(folder.glob(".*.part"))}
    for target in targets:
        if target.parent in littered:
            remove_abandoned(target)


def _put(image: SourceImage, targets: list[Path], decoder: Decoder, resize: bool) -> None:
    if resize and all(_is_right(target) for target in targets):
        return  # avoids decoding large images
    contents = _prepared(image.read(), image.where, decoder)
    # Nothing is flushed to the disk, which would take minutes: the next call repairs what a loss of power damages.
    for target in targets:
        try:
            if not (target.is_file() and target.read_bytes() == contents):
                with replacing(target, durable=False, tidy=False) as part:
                    part.write_bytes(contents)
        except OSError as error:
            raise UserError(f"{target} cannot be written ({error}).") from error


def _prepared(contents: bytes, name: str, decoder: Decoder) -> bytes:
    """The bytes of a JPEG of 84x84 pixels: the contents if they are one, or else one that is made from them."""
    pixels = decoder.image(contents, name)
    original = open_image(contents, name)
    if original.size == (SIDE, SIDE) and original.format == "JPEG":
        return contents
    file = io.BytesIO()
    pixels.save(file, "JPEG")
    return file.getvalue()


def _is_right(path: Path) -> bool:
    """Whether a file is a whole JPEG of 84x84 pixels; if a loss of power left zeros, JPEG's end marker is missing."""
    try:
        with reading(path):
            contents = path.read_bytes()
        Decoder(SIDE, 3, resize=False, formats=["JPEG"]).image(contents, str(path))
    except UserError:
        return False
    return contents.endswith(b"\xff\xd9")
