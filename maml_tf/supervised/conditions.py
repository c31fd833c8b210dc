"""How a test differs from the usual one, according to main.py's flags --test_...; files and reports show it."""

import dataclasses
import inspect
import re

from data_generators.errors import UserError
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.experiment import Experiment

TRAINED, ZERO = HEADS = "trained", "zero"


@dataclasses.dataclass(frozen=True)
class Conditions:
    """How a test differs from the usual one; None means as usual, and then the names of files are the original's.

    queries: query examples per class, or query points of a sinusoid, if not as many as shots.
    ways: classes per task, if not those of training; the first outputs are used.
    head: start of the output layer: TRAINED, or ZERO for a kernel and a bias of zeros, with any number of ways.
    tasks: number of tasks, if not 600.
    split: the split that is tested, if not the one that a test uses by default.
    checkpoint: the checkpoint, if not the latest: "best" on validation, "ensemble<N>" of the N best, or "iter<N>" of
        iteration N.
    """

    queries: int | None = None
    ways: int | None = None
    head: str = TRAINED
    tasks: int | None = None
    split: str | None = None
    checkpoint: str | None = None

    @classmethod
    def of(
        cls,
        tested: Experiment,
        queries: int | None = None,
        ways: int | None = None,
        head: str = TRAINED,
        tasks: int | None = None,
    ) -> "Conditions":
        """Makes the Conditions of a test; a usual value becomes None, even if it is given.

        Args:
            tested: the Experiment of the test, with its shots.
            queries, ways, head, tasks: values of main.py's flags --test_queries and so on.

        Raises:
            UserError: the dataset does not take such sizes, a trained head has too few outputs for the ways, or a head
                of zeros would not adapt.
        """
        sizes, outputs = _of_data(queries, ways), tested.num_classes
        try:
            inspect.signature(tested.dataset.tasks).bind(tested, None, None, **sizes)
        except TypeError as error:
            flags = " and ".join(f"--{name}" for name in sizes)
            raise UserError(f"the tasks of --datasource={tested.datasource} take no {flags}: leave it out") from error
        if ways and ways > outputs and head == TRAINED:
            raise UserError(
                f"--test_ways={ways} is more than the {outputs} outputs of the trained head: give --test_head=zero, or "
                f"at most --test_ways={outputs}"
            )

        if head == ZERO and tested.adapt == "body":
            raise UserError("--test_head=zero goes with a head that adapts, and --adapt=body leaves it at zero")

        def unless(usual, size):
            return None if size == usual else size

        shots = tested.update_batch_size
        return cls(unless(shots, queries), unless(outputs, ways), head, unless(EVALUATION_TASKS, tasks))

    def at(self, checkpoint: str | int | None, latest: int | None = None) -> "Conditions":
        """These Conditions for a checkpoint: "best", "ensemble<N>" or an iteration; None and `latest` are usual."""
        if isinstance(checkpoint, int):
            checkpoint = None if checkpoint == latest else f"iter{checkpoint}"
        return dataclasses.replace(self, checkpoint=checkpoint)

    @property
    def which(self) -> str:
        """The checkpoint in words, such as "best on validation"; "" for the latest, or one given by its iteration."""
        if self._is_of_an_iteration:
            return ""
        if self.checkpoint == "best":
            return "best on validation"
        return f"ensemble of the {self.checkpoint.removeprefix('ensemble')} best on validation"

    @property
    def is_usual(self) -> bool:
        """Whether published results come from such a test, regardless of the split and the iteration."""
        return self._is_of_an_iteration and dataclasses.replace(self, split=None, checkpoint=None) == USUAL

    @property
    def _is_of_an_iteration(self):
        return self.checkpoint is None or self.checkpoint.startswith("iter")

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of tasks that differ from the usual ones, by their names in `Dataset.tasks`."""
        return _of_data(self.queries, self.ways)

    @property
    def suffix(self) -> str:
        """The suffix of a test's file names; if everything differs, "_queries15_ways5_zerohead_tasks100_val_best"."""
        parts = [
            self.queries and f"queries{self.queries}",
            self.ways and f"ways{self.ways}",
            self.head == ZERO and "zerohead",
            self.tasks and f"tasks{self.tasks}",
            self.split,
            self.checkpoint,
        ]
        return "".join(f"_{part}" for part in parts if part)

    def text(self, outputs: int) -> str:
        """Describes for a report how the tasks and the head differ; "" if they do not.

        Args:
            outputs: number of outputs of the trained head.
        """
        parts = [f"queries = {self.queries}"] if self.queries else []
        parts += [f"{self.ways}-way tasks"] if self.ways else []
        if self.head == ZERO:
            parts.append("the head starts at zero")
        elif self.ways:
            parts.append(f"the first {self.ways} of the {outputs} outputs")
        return ", ".join(parts)


def of_tasks(name: str) -> tuple[int, Conditions] | None:
    """Reads from the name of a test's files what determines the tasks of the test, except their number.

    Args:
        name: name of a csv or pkl, without ending, as `evaluation.write` makes it.

    Returns:
        (K, Conditions of queries, ways and split), or None if it is not such a name.
    """
    match = re.fullmatch(r"test_ubs(\d{1,9})_stepsize[^_]+((?:_[^_]+)*)", name)
    if match is None:
        return None

    def part(pattern):
        found = re.search(rf"_{pattern}(?![^_])", match[2])
        return None if found is None else found[1]

    queries, ways = (number and int(number) for number in (part(r"queries(\d{1,9})"), part(r"ways(\d{1,9})")))
    return int(match[1]), Conditions(queries, ways, split=part("(val|test)"))


def _of_data(queries, ways):
    sizes = {"test_queries": queries, "test_ways": ways}
    return {name: size for name, size in sizes.items() if size is not None}


USUAL = Conditions()
