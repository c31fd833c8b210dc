"""Where the commands that draw write their pictures, and in which format."""

from pathlib import Path

from data_generators.errors import UserError
from data_generators.files import check_writable

FORMATS = ["png", "pdf"]
_OTHER_FORMATS = {".eps", ".gif", ".jpeg", ".jpg", ".ps", ".svg", ".tif", ".tiff", ".webp"}


def add(parser, default):
    """Adds --out and --format to a parser.

    Args:
        parser: argparse.ArgumentParser.
        default: the folder of `paths`, in words.
    """
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder, or for a single picture a file that ends in .png or .pdf; default, {default}",
    )
    parser.add_argument("--format", choices=FORMATS, help="in a folder; default png")


def check(flags, pictures: int = 1) -> None:
    """Finds mistakes in the flags before there is anything to draw.

    Args:
        flags: what a parser with the flags of `add` gave.
        pictures: their number.

    Raises:
        UserError: --out is one file for several pictures, has the ending of another format, or another one than
            --format says.
    """
    ending = _ending(flags)
    if ending in _OTHER_FORMATS:
        raise UserError(f"pictures are written as PNG or PDF: end --out={flags.out} in .png or .pdf")
    if ending[1:] not in FORMATS:
        return
    if flags.format not in (None, ending[1:]):
        raise UserError(f"--format={flags.format} contradicts the ending of --out={flags.out}: leave one of them out")
    if pictures > 1:
        raise UserError(f"--out={flags.out} is a single file, for {pictures} pictures: choose one, or give a folder")


def paths(flags, names, folder) -> list[Path]:
    """The files of pictures: in the folder --out, or --out itself where it ends in .png or .pdf.

    They and the csv files beside them can be written, which is found out here, before the work for them.

    Args:
        flags: as for `check`.
        names: of the pictures, without ending.
        folder: where --out is not given, that of the runs.

    Raises:
        UserError: as `check`, or a file cannot be written there.
    """
    check(flags, len(names))
    if _ending(flags)[1:] in FORMATS:
        found = [flags.out]
    else:
        found = [Path(flags.out or folder) / f"{name}.{flags.format or FORMATS[0]}" for name in names]
    for path in found:
        for file in path, path.with_suffix(".csv"):
            check_writable(file)
    return found


def _ending(flags):
    return flags.out.suffix.lower() if flags.out else ""
