"""Both baselines on few-shot tasks: settings chosen on one half of the validation classes, figures on the other.

The figures on the test classes, where there are any, are on the tasks of `main.py`'s test.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from data_generators.episodes import EVALUATION_SEED, ClassImages, Episodes
from data_generators.errors import UserError
from data_generators.subsets import halves
from maml_tf import evaluation
from maml_tf.baselines.classifier import describe
from maml_tf.baselines.fine_tuning import Choice, FineTuning, Schedule, choose
from maml_tf.baselines.nearest_neighbor import NearestNeighbor
from maml_tf.baselines.store import Figures
from maml_tf.experiment import EVALUATION_TASKS, check_count

CHOICE, VAL, TEST = "choice", "val", "test"
NEAREST_NEIGHBOR, FINE_TUNING = "nearest_neighbor_baseline", "fine_tuning_baseline"  # as in published.json


class Search(NamedTuple):
    """What the settings of fine-tuning are chosen from, and on how many tasks."""

    step_sizes: tuple[float, ...]
    decays: tuple[float, ...]
    num_updates: int
    num_tasks: int

    def schedules(self) -> list[Schedule]:
        """Every pair of step size and decay."""
        return [Schedule(step_size, decay) for step_size in self.step_sizes for decay in self.decays]

    def validate(self):
        """Checks the values.

        Raises:
            UserError: one is out of range.
        """
        if not self.step_sizes or not all(0 < size < float("inf") for size in self.step_sizes):
            raise UserError("--step_sizes must be positive numbers, such as 0.1,0.01")
        if not self.decays or not all(0 <= decay < float("inf") for decay in self.decays):
            raise UserError("--decays must be numbers that are not negative, such as 0,0.1")
        check_count("num_updates", self.num_updates, 1, 10_000)
        check_count("tuning_tasks", self.num_tasks, 1)


class Outcome(NamedTuple):
    """One baseline on one split.

    baseline: NEAREST_NEIGHBOR or FINE_TUNING.
    split: VAL, which is the half of the validation classes on which nothing was chosen, or TEST.
    num_classes: of the split.
    evaluation: Evaluation of accuracies; its last column counts.
    choice: the settings of fine-tuning.
    """

    baseline: str
    split: str
    num_classes: int
    evaluation: evaluation.Evaluation
    choice: Choice | None = None


class Comparison:
    """Few-shot tasks for the baselines, drawn from three disjoint sets of classes.

    Args:
        splits: ClassImages of "val" and, where there is one, "test".
        ways, shots, queries: classes per task, and support and query images per class.
        rotate: as for Episodes.

    Raises:
        UserError: there are too few validation classes or images.
    """

    def __init__(self, splits: Mapping[str, ClassImages], ways: int, shots: int, queries: int, rotate: bool = False):
        if "val" not in splits:
            raise UserError("the baselines need validation classes: add a val split to the data")
        for size, flag in ((ways, "num_classes"), (shots, "shots"), (queries, "queries")):
            check_count(flag, size, 1, 10_000)
        first, second = halves(splits["val"])
        if first.num_classes < ways:
            raise UserError(
                f"{ways}-way tasks on each half of the validation classes need {2 * ways} of them, but there are "
                f"{splits['val'].num_classes}: give a smaller --num_classes or add classes"
            )
        parts = {CHOICE: first, VAL: second} | ({TEST: splits["test"]} if "test" in splits else {})
        self.ways, self.shots, self.queries = ways, shots, queries
        self._episodes = Episodes(parts, ways, shots, queries, rotate, queries_are_free=True)

    @property
    def reported(self) -> list[str]:
        """The splits with figures to report."""
        return [split for split in (VAL, TEST) if split in self._episodes.splits]

    def draw(self, split: str):
        """Function (first, count) -> Tasks of the fixed list of CHOICE, VAL or TEST."""
        return functools.partial(self._episodes.episodes, EVALUATION_SEED, split)

    def run(self, classifier, fingerprint: str, search: Search, folder: str | Path, num_tasks=EVALUATION_TASKS):
        """Evaluates both baselines.

        What has been computed is kept in the folder, so that the same call resumes after an interruption.

        Args:
            classifier: MAML with the weights to use.
            fingerprint: of its weights.
            search: Search.
            folder: for `figures.json`.
            num_tasks: tasks whose figures are reported.

        Returns:
            list of Outcome.

        Raises:
            UserError: the folder cannot be written.
        """
        known = Figures(Path(folder) / "figures.json", fingerprint)
        evaluate = functools.partial(self._evaluate, known)
        neighbor = NearestNeighbor(classifier)
        outcomes = [
            self._outcome(NEAREST_NEIGHBOR, split, evaluate("nearest neighbour", neighbor, split, num_tasks, 0))
            for split in self.reported
        ]
        fine_tuning = FineTuning(classifier, self.ways, self.shots)

        def tuned(schedule, split, num_tasks, num_updates):
            name = f"fine-tuning, step size {schedule.initial}, decay {schedule.decay}"
            return evaluate(name, fine_tuning.at(schedule), split, num_tasks, num_updates)

        choice = choose({s: tuned(s, CHOICE, search.num_tasks, search.num_updates) for s in search.schedules()})
        for split in self.reported:
            found = tuned(choice.schedule, split, num_tasks, choice.num_updates)
            outcomes.append(self._outcome(FINE_TUNING, split, found, choice))
        return outcomes

    def _evaluate(self, known, name, learner, split, num_tasks, num_updates):
        task = f"{self.ways}-way {self.shots}-shot, {self.queries} queries per class"
        classes = describe(self._episodes.splits[split])
        key = f"{task}; {num_tasks} tasks of {split}, {classes}; {name}; {num_updates} updates"
        options = {"num_tasks": num_tasks, "num_updates": num_updates, "label": f"{split}: {name}"}
        return known.remember(key, lambda: evaluation.evaluate(learner, self.draw(split), **options))

    def _outcome(self, baseline, split, found, choice=None):
        return Outcome(baseline, split, self._episodes.splits[split].num_classes, found, choice)
