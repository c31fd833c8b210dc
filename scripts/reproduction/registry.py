"""What a row of the paper's results is, and all of them by name; `all_rows` registers them."""

import abc
import dataclasses
from typing import NamedTuple

from data_generators.errors import UserError
from maml_tf.runs.settings import check


@dataclasses.dataclass(frozen=True)
class Options:
    """Where a row's run is, and how long it is to be.

    logdir, data_dir: as for main.py; None are its defaults.
    iterations: of training; None is the paper's number.
    """

    logdir: str | None = None
    data_dir: str | None = None
    iterations: int | None = None

    def __post_init__(self):
        check("iterations", self.iterations, least=1)

    def flags(self) -> list[str]:
        """The flags of the folders, where they are given."""
        given = {"logdir": self.logdir, "data_dir": self.data_dir}
        return [f"--{name}={value}" for name, value in given.items() if value is not None]


class Status(NamedTuple):
    """How far a run has come.

    folder: of its checkpoints.
    done: iterations done; 0 where there is no run.
    """

    folder: str
    done: int


class Figure(NamedTuple):
    """Our figure in a row.

    split: of the tasks, with what else must be known to read it.
    text: the figure and its confidence interval.
    """

    split: str
    text: str


class Row(abc.ABC):
    """One figure of the paper's results.

    name: by which it is asked for.
    title: in a table.
    total: the paper's iterations.
    """

    name: str
    title: str
    total: int

    @abc.abstractmethod
    def published(self) -> str:
        """The published figure; "" where there is none."""

    @abc.abstractmethod
    def command(self, options: Options) -> list[str]:
        """The command that trains and tests, and that resumes what it finds."""

    @abc.abstractmethod
    def run(self, options: Options) -> int:
        """Does in this process what the command does; returns its exit code."""

    @abc.abstractmethod
    def status(self, options: Options) -> Status:
        """How far the run in these folders has come."""

    @abc.abstractmethod
    def figure(self, options: Options) -> Figure:
        """Our figure, from the files that `run` has written."""


ROWS: dict[str, Row] = {}


def register(row: Row) -> None:
    """Adds a row; rows are listed in the order in which they are added."""
    if row.name in ROWS:
        raise ValueError(f"there is a row {row.name} already")
    ROWS[row.name] = row


def find(name: str) -> Row:
    """The row of a name.

    Raises:
        UserError: there is none; the message lists those that there are.
    """
    if name not in ROWS:
        raise UserError(f"there is no row {name!r}: choose one of {', '.join(ROWS)}")
    return ROWS[name]
