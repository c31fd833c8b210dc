"""The common style of pictures and tables, and the files of pictures and of the numbers that they show."""

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_generators.errors import UserError
from data_generators.files import check_writable, free_name, reading, replacing, writing
from maml_tf.runs.flags import Flags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that differ in lightness and that colour-blind readers can tell apart (Okabe and Ito); line styles and markers
# differ too.
BLUE, ORANGE, GREY, BLACK = "#0072b2", "#d55e00", "0.55", "black"

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # TrueType: text stays text
    "savefig.dpi": 200,
}


class Picture(NamedTuple):
    """A picture that can be drawn.

    size: width and height in inches.
    numbers: function that returns the rows to show, dicts with the same keys.
    draw: function (figure, rows) that fills the figure.
    """

    size: tuple[float, float]
    numbers: Callable[..., list[dict]]
    draw: Callable[..., None]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table of texts, with left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def write(path: Path, rows: list[dict], draw: Callable, size: tuple[float, float]) -> None:
    """Writes a picture and, beside it, a csv of the numbers that it shows; prints both paths.

    Args:
        path: path of the picture.
        rows: dicts with the same keys.
        draw: function (figure, rows) that fills the figure.
        size: width and height in inches.

    Raises:
        UserError: a file cannot be written.
    """
    print(write_csv(path.with_suffix(".csv"), rows))
    print(save(make(draw, rows, *size), path))


def make(draw: Callable, rows: list[dict], width: float, height: float) -> "Figure":
    """Draws a matplotlib Figure in the common style; arguments as for `write`."""
    import matplotlib  # not at the top: it takes a second to load, and --help does not need it
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure((width, height), layout="constrained")
        draw(figure, rows)
    return figure


def legend_below(figure: "Figure", panel: Any) -> None:
    """Puts the legend of a panel below all panels."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def save(figure: "Figure", path: str | Path) -> Path:
    """Writes a figure as PNG or PDF, by the ending of its path, and returns the path.

    The file does not contain its creation time, so that the same numbers give the same file.

    Raises:
        UserError: the file cannot be written.
    """
    import matplotlib

    ending = Path(path).suffix[1:].lower()
    metadata = {"CreationDate": None} if ending == "pdf" else {}
    with matplotlib.rc_context(_STYLE):
        return _write(path, lambda part: figure.savefig(part, format=ending, metadata=metadata))


def read_csv(path: str | Path, numbers: Mapping[str, Callable[[str], Any]], remedy: str) -> list[dict[str, Any]]:
    """Reads the rows of a csv that `write_csv` has written.

    Args:
        path: path of the file.
        numbers: functions that convert the texts of a column to values, by column name; other columns stay texts.
        remedy: what the user should do if the file is not such a csv, as for `files.reading`.

    Raises:
        UserError: the file cannot be read, or is another csv.
    """
    with reading(path, remedy):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [row | {name: number(row[name]) for name, number in numbers.items()} for row in csv.DictReader(lines)]


def write_csv(path: str | Path, rows: list[dict]) -> Path:
    """Writes dicts with the same keys as a csv with a header and returns its path.

    Floats have seven digits, as many as a float32 holds; None becomes an empty entry. A table of that name with other
    columns, which holds something else, is renamed to <name>.old1 or the next free name.

    Raises:
        UserError: the file cannot be written.
    """

    def write(part):
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _seven_digits(value) for name, value in row.items()} for row in rows)
        _put_other_table_aside(Path(os.path.realpath(path)), list(rows[0]))

    return _write(path, write)


def _put_other_table_aside(path, columns):
    """Renames a csv that has other columns than these."""
    if not path.is_file() or not path.stat().st_size:
        return
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        if file.readline().rstrip("\n") == ",".join(columns):
            return
    aside = path.rename(free_name(path, "old"))
    print(f"{path} had other columns: it is now {aside.name}")


def _seven_digits(value):
    return f"{value:.7g}" if isinstance(value, float) else value


def _write(path, write):
    with writing(path), replacing(path) as part:
        write(part)
    return Path(path)


FORMATS = ["png", "pdf"]
_OTHER_FORMATS = {".eps", ".gif", ".jpeg", ".jpg", ".ps", ".svg", ".tif", ".tiff", ".webp"}


def define(flags: Flags, default: str) -> None:
    """Defines --out and --format.

    Args:
        flags: flags of a command.
        default: description of the folder that `paths` uses without --out.
    """
    out = f"folder, or for a single picture a file that ends in .png or .pdf; default: {default}"
    flags.path("out", None, out)
    flags.choice("format", None, FORMATS, "format of the pictures in a folder; default: png")


def check(flags: Flags, pictures: int = 1) -> None:
    """Checks --out and --format before anything is drawn.

    Args:
        flags: parsed flags, including those of `define`.
        pictures: number of pictures.

    Raises:
        UserError: --out is one file for several pictures, has the ending of an unsupported format, or contradicts
            --format.
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


def paths(flags: Flags, names: Sequence[str], folder: str | Path, reads: Iterable[str | Path] = ()) -> list[Path]:
    """Returns the files of pictures: in the folder --out, or --out itself if it ends in .png or .pdf.

    Checks that these files and the csv files beside them can be written, so that errors come before the work.

    Args:
        flags: parsed flags, as for `check`.
        names: names of the pictures, without ending.
        folder: the folder to use if --out is not given, that of the runs.
        reads: files that the command draws, which it must not replace.

    Raises:
        UserError: as for `check`, or a file cannot be written, or is one that the command reads.
    """
    check(flags, len(names))
    if _ending(flags)[1:] in FORMATS:
        found = [flags.out]
    else:
        found = [Path(flags.out or folder) / f"{name}.{flags.format or FORMATS[0]}" for name in names]
    sources = {Path(source).resolve() for source in reads}
    for path in found:
        for file in path, path.with_suffix(".csv"):
            if file.resolve() in sources:
                raise UserError(f"{file} holds what is drawn, and would be replaced: name another file by --out")
            check_writable(file)
    return found


def _ending(flags):
    return flags.out.suffix.lower() if flags.out else ""
