"""Evaluates both baselines on few-shot tasks.

Settings are chosen on one half of the validation classes, and the baselines are evaluated on the other half. If there
are test classes, the baselines are also evaluated on them, on the tasks of `main.py`'s test.
"""

import functools
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_generators.episodes import EVALUATION_SEED, ClassImages, Episodes
from data_generators.errors import UserError
from data_generators.files import DAMAGE, replacing, writing
from data_generators.minibatches import halves
from data_generators.tasks import Tasks
from maml_tf.baselines.learners import Choice, NearestNeighbor, StepSizes, choose, fine_tuning
from maml_tf.distribution import ALONE, Alone
from maml_tf.maml import MAML
from maml_tf.runs.settings import check
from maml_tf.supervised import evaluation
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.task_data import describe

CHOICE, VAL, TEST = "choice", "val", "test"
NEAREST_NEIGHBOR, FINE_TUNING = "nearest_neighbor_baseline", "fine_tuning_baseline"  # as in published.json


class Grid(NamedTuple):
    """The candidates for the settings of fine-tuning, and the number of tasks on which they are compared."""

    step_sizes: tuple[float, ...]
    decays: tuple[float, ...]
    num_updates: int
    num_tasks: int

    def candidates(self) -> list[StepSizes]:
        """Every pair of step size and decay."""
        return [StepSizes(step_size, decay) for step_size in self.step_sizes for decay in self.decays]

    def validate(self) -> None:
        """Checks the values.

        Raises:
            UserError: a value is out of range.
        """
        if not self.step_sizes or not all(0 < size < float("inf") for size in self.step_sizes):
            raise UserError("--step_sizes must be positive numbers, such as 0.1,0.01")
        if not self.decays or not all(0 <= decay < float("inf") for decay in self.decays):
            raise UserError("--decays must be numbers that are not negative, such as 0,0.1")
        check("num_updates", self.num_updates, least=1, most=10_000)
        check("tuning_tasks", self.num_tasks, least=1)


class Outcome(NamedTuple):
    """The result of one baseline on one split.

    baseline: NEAREST_NEIGHBOR or FINE_TUNING.
    split: VAL, which is the half of the validation classes on which no settings were chosen, or TEST.
    num_classes: number of classes in the split.
    evaluation: Evaluation of accuracies; its last column is the result.
    choice: the settings of fine-tuning; None for nearest neighbour.
    """

    baseline: str
    split: str
    num_classes: int
    evaluation: evaluation.Evaluation
    choice: Choice | None = None


class Comparison:
    """Few-shot tasks for the baselines, drawn from three disjoint sets of classes.

    Args:
        splits: ClassImages of "val" and, if there is a test split, "test".
        ways, shots, queries: classes per task, and support and query images per class.
        rotate: as for Episodes.

    Raises:
        UserError: there are too few validation classes or images.
    """

    def __init__(self, splits: Mapping[str, ClassImages], ways: int, shots: int, queries: int, rotate: bool = False):
        if "val" not in splits:
            raise UserError("the baselines need validation classes: add a val split to the data")
        for size, flag in ((ways, "num_classes"), (shots, "shots"), (queries, "queries")):
            check(flag, size, least=1, most=10_000)
        first, second = halves(splits["val"])
        if first.num_classes < ways:
            raise UserError(
                f"{ways}-way tasks on each half of the validation classes need {2 * ways} of them, but there are "
                f"{splits['val'].num_classes}: give a smaller --num_classes or add classes"
            )
        parts = {CHOICE: first, VAL: second} | ({TEST: splits["test"]} if "test" in splits else {})
        self.ways, self.shots, self.queries = ways, shots, queries
        flags = "--num_classes", "--shots", "--queries"
        self._episodes = Episodes(parts, ways, shots, queries, rotate, flags)

    @property
    def reported(self) -> list[str]:
        """The splits to evaluate on and report."""
        return [split for split in (VAL, TEST) if split in self._episodes.splits]

    def draw(self, split: str) -> Callable[[int, int], Tasks]:
        """Returns a function (first, count) -> Tasks of the fixed list of CHOICE, VAL or TEST."""
        return functools.partial(self._episodes.episodes, EVALUATION_SEED, split)

    def run(
        self,
        classifier: MAML,
        fingerprint: str,
        grid: Grid,
        folder: str | Path,
        num_tasks: int = EVALUATION_TASKS,
    ) -> list[Outcome]:
        """Evaluates both baselines.

        Results are kept in the folder, so that the same call resumes after an interruption.

        Args:
            classifier: MAML with the weights to use.
            fingerprint: fingerprint of these weights.
            grid: Grid.
            folder: folder for `figures.json`.
            num_tasks: number of tasks to evaluate on.

        Raises:
            UserError: the folder cannot be written.
        """
        known = KeptEvaluations(Path(folder) / "figures.json", fingerprint, classifier.workers)
        evaluate = functools.partial(self._evaluate, known, classifier.workers)
        neighbor = NearestNeighbor(classifier)
        outcomes = [
            self._outcome(NEAREST_NEIGHBOR, split, evaluate("nearest neighbour", neighbor, split, num_tasks, 0))
            for split in self.reported
        ]
        tuner = fine_tuning(classifier, self.ways, self.shots)

        def tuned(sizes, split, num_tasks, num_updates):
            name = f"fine-tuning, step size {sizes.initial}, decay {sizes.decay}"
            return evaluate(name, tuner, split, num_tasks, num_updates, sizes.first(num_updates))

        in_grid = grid.candidates()
        choice = choose({sizes: tuned(sizes, CHOICE, grid.num_tasks, grid.num_updates) for sizes in in_grid})
        for split in self.reported:
            found = tuned(choice.step_sizes, split, num_tasks, choice.num_updates)
            outcomes.append(self._outcome(FINE_TUNING, split, found, choice))
        return outcomes

    def _evaluate(self, known, workers, name, learner, split, num_tasks, num_updates, step_size=None):
        task = f"{self.ways}-way {self.shots}-shot, {self.queries} queries per class"
        classes = describe(self._episodes.splits[split])
        key = f"{task}; {num_tasks} tasks of {split}, {classes}; {name}; {num_updates} updates"
        options = {"num_tasks": num_tasks, "num_updates": num_updates, "step_size": step_size}
        options |= {"label": f"{split}: {name}", "workers": workers}
        return known.remember(key, lambda: evaluation.evaluate(learner, self.draw(split), **options))

    def _outcome(self, baseline, split, found, choice=None):
        return Outcome(baseline, split, self._episodes.splits[split].num_classes, found, choice)


class KeptEvaluations:
    """Keeps Evaluations by key in a file, so that none is computed twice.

    Args:
        path: the file; a file that is damaged, or of another classifier, is replaced.
        fingerprint: fingerprint of the classifier.
        workers: the processes that compute together, each with its own file.
    """

    def __init__(self, path: Path, fingerprint: str, workers: Alone = ALONE):
        self.path, self._workers = path, workers
        self._fingerprint = fingerprint
        self._known = self._read()

    def remember(self, key: str, compute: Callable[[], Evaluation]) -> Evaluation:
        """Returns the Evaluation of a key: the one in the file, or else one that is computed and kept.

        Raises:
            UserError: the file cannot be written.
        """
        if self._workers.any(key not in self._known):  # the chief's file may have more than another's
            found = _from_lists(_as_lists(compute()))
            self._known |= self._read() | {key: found}  # another process may have added some meanwhile
            kept = {key: _as_lists(evaluation) for key, evaluation in self._known.items()}
            made = {"classifier": self._fingerprint, "checksum": _checksum(kept), "figures": kept}
            with writing(self.path, "choose another --logdir"), replacing(self.path) as part:
                part.write_text(json.dumps(made), encoding="utf-8")
        return self._known[key]

    def _read(self):
        try:
            made = json.loads(self.path.read_text(encoding="utf-8"))
            kept, expected = made["figures"], _checksum(made["figures"])
            # Files of earlier versions have no checksum.
            if made["classifier"] != self._fingerprint or made.get("checksum", expected) != expected:
                return {}
            return {key: _from_lists(lists) for key, lists in kept.items()}
        except DAMAGE:
            return {}


def _as_lists(evaluation):
    lists = {"support": evaluation.support.tolist(), "query": evaluation.query.tolist()}
    return lists if evaluation.losses is None else lists | {"losses": evaluation.losses.tolist()}


def _from_lists(kept):
    """Returns the Evaluation of what `_as_lists` returned; raises an error in DAMAGE for anything else."""
    support, query = (np.array(kept[name], np.float64) for name in ("support", "query"))
    losses = np.array(kept["losses"], np.float64) if "losses" in kept else None
    if support.ndim != 1 or query.ndim != 2 or len(query) != len(support) or not query.size:
        raise ValueError("these are not accuracies of tasks")
    if losses is not None and losses.shape != query.shape:
        raise ValueError("these are not losses of tasks")
    return Evaluation("accuracy", support, query, losses=losses)


def _checksum(kept):
    return zlib.crc32(json.dumps(kept).encode())
