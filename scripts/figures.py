"""The look of the figures, and how they and the numbers behind them are written."""

import csv
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from data_generators import files
from data_generators.errors import UserError

# Colours that differ in lightness and for colour-blind readers (Okabe and Ito); line styles and markers differ too.
BLUE, ORANGE, GREY, BLACK = "#0072b2", "#d55e00", "0.55", "black"

_STYLE = {
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
    "pdf.fonttype": 42,  # letters stay letters
    "savefig.dpi": 200,
}


def make(draw, rows, width, height) -> Figure:
    """A figure in the common style.

    Args:
        draw: function (figure, rows) that fills it.
        rows: list of dicts, the numbers that it shows.
        width, height: in inches.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure((width, height), layout="constrained")
        draw(figure, rows)
    return figure


def legend_below(figure, panel):
    """Puts the legend of a panel below all panels."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def save(figure, path) -> Path:
    """Writes a figure, as PNG or PDF by the ending of its name, and returns its path.

    Raises:
        UserError: it cannot be written.
    """
    # Neither format is to note when it was written: the same numbers give the same file.
    ending = Path(path).suffix[1:].lower()
    metadata = {"CreationDate": None} if ending == "pdf" else {}
    with matplotlib.rc_context(_STYLE):
        return _write(path, lambda part: figure.savefig(part, format=ending, metadata=metadata))


def write_csv(path, rows) -> Path:
    """Writes dicts of the same keys as a csv with a header and returns its path.

    Numbers have seven digits, as many as a float32; None is an empty entry.

    Raises:
        UserError: it cannot be written.
    """

    def write(part):
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _seven_digits(value) for name, value in row.items()} for row in rows)

    return _write(path, write)


def _seven_digits(value):
    return f"{value:.7g}" if isinstance(value, float) else value


def _write(path, write):
    try:
        with files.replacing(path) as part:
            write(part)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error
    return Path(path)
