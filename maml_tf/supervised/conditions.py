"""In what a test departs from the usual one, as main.py's flags --test_... say; files and reports tell it."""

import dataclasses
import inspect
import re

from data_generators.errors import UserError
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.experiment import Experiment

TRAINED, ZERO = HEADS = "trained", "zero"


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What a test does otherwise; what is None is as usual, so that names of files stay those of the original.

    queries: per class, or points of a sinusoid, if not as many as shots.
    ways: classes per task, if not those of training; the first outputs are used.
    head: where the output layer starts: TRAINED, or ZERO, at a kernel and a bias of zeros for any number of ways.
    tasks: how many, if not 600.
    split: what is tested, if not the split that a test takes by itself.
    checkpoint: "best" on validation, "ensemble<N>" of the N best, or "iter<N>" of iteration N; if not the latest.
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
        """The Conditions of a test; a usual value is None, even if it is given.

        Args:
            tested: Experiment, whose shots are those of the test.
            queries, ways, head, tasks: as main.py's flags --test_queries and so on.

        Raises:
            UserError: the dataset does not take such sizes, or a trained head has too few outputs for the ways.
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
        """These for a checkpoint: "best", "ensemble<N>" or an iteration; None and the latest are as usual."""
        if isinstance(checkpoint, int):
            checkpoint = None if checkpoint == latest else f"iter{checkpoint}"
        return dataclasses.replace(self, checkpoint=checkpoint)

    @property
    def which(self) -> str:
        """The checkpoint in words, "best on validation", or "" for that of an iteration, which is told beside it."""
        if self._is_of_an_iteration:
            return ""
        if self.checkpoint == "best":
            return "best on validation"
        return f"ensemble of the {self.checkpoint.removeprefix('ensemble')} best on validation"

    @property
    def is_usual(self) -> bool:
        """Whether published results are of such a test, whatever the split and the iteration."""
        return self._is_of_an_iteration and dataclasses.replace(self, split=None, checkpoint=None) == USUAL

    @property
    def _is_of_an_iteration(self):
        return self.checkpoint is None or self.checkpoint.startswith("iter")

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of tasks that differ, by their names in `Dataset.tasks`."""
        return _of_data(self.queries, self.ways)

    @property
    def suffix(self) -> str:
        """What the names of a test's files add: "_queries15_ways5_zerohead_tasks100_val_best", of what differs."""
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
        """What differs in the tasks and the head, for a report, or ""; outputs: of the head as trained."""
        parts = [f"queries = {self.queries}"] if self.queries else []
        parts += [f"{self.ways}-way tasks"] if self.ways else []
        if self.head == ZERO:
            parts.append("the head starts at zero")
        elif self.ways:
            parts.append(f"the first {self.ways} of the {outputs} outputs")
        return ", ".join(parts)


def of_tasks(name: str) -> tuple[int, Conditions] | None:
    """The shots and what else decides the tasks of a test, but for their number, as the name of its files tells it.

    Args:
        name: of a csv or pkl, without ending, as `evaluation.write` makes it.

    Returns:
        (K, Conditions of queries, ways and split), or None where it is another name.
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
