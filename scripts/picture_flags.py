"""Where the commands that draw write their pictures, and in which format."""

from pathlib import Path

from data_generators.errors import UserError

FORMATS = ["png", "pdf"]
_OTHER_FORMATS = {".eps", ".gif", ".jpeg", ".jpg", ".ps", ".svg", ".tif", ".tiff", ".webp"}


def add(parser):
    """Adds --out and --format to a parser."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/figures"),
        help="folder, or for a single picture a file that ends in .png or .pdf; default docs/figures",
    )
    parser.add_argument("--format", choices=FORMATS, help="in a folder; default png")


def paths(flags, names) -> list[Path]:
    """The files of pictures: in the folder --out, or --out itself where it ends in .png or .pdf.

    Args:
        flags: what a parser with the flags of `add` gave.
        names: of the pictures, without ending.

    Raises:
        UserError: --out is one file for several pictures, has the ending of another format, or another one than
            --format says.
    """
    ending = flags.out.suffix.lower()
    if ending in _OTHER_FORMATS:
        raise UserError(f"pictures are written as PNG or PDF: end --out={flags.out} in .png or .pdf")
    if ending[1:] not in FORMATS:
        return [flags.out / f"{name}.{flags.format or FORMATS[0]}" for name in names]
    if flags.format not in (None, ending[1:]):
        raise UserError(f"--format={flags.format} contradicts the ending of --out={flags.out}: leave one of them out")
    if len(names) > 1:
        raise UserError(f"--out={flags.out} is a single file, for {len(names)} pictures: choose one, or give a folder")
    return [flags.out]
