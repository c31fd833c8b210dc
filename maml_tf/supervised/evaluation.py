"""Evaluates a meta-trained model after every update on many fixed tasks, and writes the results to files.

It corresponds to `test` in main.py of cbfinn/maml, whose csv and pkl files have the same form.
"""

import contextlib
import csv
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_generators.errors import UserError
from data_generators.files import replacing
from data_generators.prefetch import Prefetcher
from data_generators.progress import progress
from data_generators.tasks import Tasks, refuse_ragged, structured
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs.statistics import diverged, mean_and_ci95, mean_ci95, median
from maml_tf.supervised.conditions import USUAL, Conditions
from maml_tf.supervised.datasets import EVALUATION_TASKS

Draw = Callable[[int, int], Tasks]


class Learner(Protocol):
    """A learner that can be evaluated, such as a MAML or a baseline."""

    def evaluate(
        self, tasks: Tasks, num_updates: int, step_size: Any = None, transductive: bool = True
    ) -> dict[str, np.ndarray]:
        """Evaluates tasks; see `MAML.evaluate`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """The metric of every task, before and after adaptation.

    kind: "accuracy" (fractions) or "loss".
    support: [tasks], the metric on the support set before adaptation.
    query: [tasks, 1 + num_updates], the metric on the query set after 0, 1, ... updates.
    step_size: step size of the inner updates, if it was not that of training.
    transductive: whether queries were normalised by their own batch statistics, rather than by the support set's.
    losses: the losses, in the shape of `query`, if `query` has accuracies; None if they are not known.
    """

    kind: str
    support: np.ndarray
    query: np.ndarray
    step_size: float | np.ndarray | None = None
    transductive: bool = True
    losses: np.ndarray | None = None

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.query)

    @property
    def num_updates(self) -> int:
        """Number of inner updates."""
        return self.query.shape[1] - 1

    @property
    def mean(self) -> np.ndarray:
        """[1 + num_updates] mean over tasks of the metric on the query set."""
        return _statistics(self.query)[0]

    @property
    def std(self) -> np.ndarray:
        """[1 + num_updates] standard deviation over tasks (ddof 0) of the metric on the query set."""
        return _statistics(self.query)[1]

    @property
    def ci95(self) -> np.ndarray:
        """[1 + num_updates] half width of the 95 % confidence interval of `mean`: 1.96 * std / sqrt(tasks)."""
        return _statistics(self.query)[2]

    @property
    def support_mean(self) -> float:
        """Mean over tasks of the metric on the support set before adaptation."""
        return _statistics(self.support)[0]

    @property
    def support_ci95(self) -> float:
        """Half width of the 95 % confidence interval of `support_mean`."""
        return _statistics(self.support)[2]

    @property
    def median(self) -> np.ndarray:
        """[1 + num_updates] median over tasks of the metric on the query set; NaN counts as infinity."""
        return median(self.query)

    @property
    def diverged(self) -> np.ndarray:
        """[1 + num_updates] number of tasks that have diverged, according to `statistics.diverged`."""
        return self._diverged().sum(axis=0)

    @property
    def support_median(self) -> float:
        """Median over tasks of the metric on the support set before adaptation."""
        return float(median(self.support))

    @property
    def support_diverged(self) -> int:
        """Number of tasks whose metric on the support set before adaptation counts as diverged."""
        before = self.query[:, 0] if self.kind == "loss" else np.ones(1)
        return int(diverged(self.support, before).sum())

    def without_diverged(self, update: int) -> tuple[float, float]:
        """Mean and ci95 of the metric on the query set after an update, over the tasks that have not diverged then."""
        return mean_and_ci95(self.query[:, update], self._diverged()[:, update])

    def _diverged(self):
        losses = self.query if self.losses is None else self.losses
        return diverged(losses, losses[:, 0])


def evaluate(
    maml: Learner,
    draw: Draw,
    *,
    num_tasks: int = EVALUATION_TASKS,
    num_updates: int = 10,
    step_size: float | np.ndarray | None = None,
    tasks_per_call: int = 25,
    transductive: bool = True,
    label: str | None = "Evaluating",
    workers: Alone = ALONE,
) -> Evaluation:
    """Adapts to every task of a fixed list and evaluates its queries before and after every update.

    Every call of `maml.evaluate` has the same number of tasks (the last one is filled up), so that one graph serves all
    calls.

    Args:
        maml: Learner.
        draw: function (first, count) -> Tasks, the tasks first ... first + count - 1 of the list. It is called from
            another thread, in order, and never beyond num_tasks.
        num_tasks: number of tasks.
        num_updates: number of inner updates.
        step_size: step size of the inner updates, one or [num_updates]; default, that of training.
        tasks_per_call: tasks per call; it affects the memory needed, but not the results.
        transductive: whether queries are normalised by their own batch statistics; otherwise by the support set's,
            which are in the state that `maml.adapt` returns.
        label: label of the progress display; None for no display.
        workers: the processes that share the tasks.

    Returns:
        Evaluation, of accuracies if `maml` reports them, otherwise of losses.

    Raises:
        UserError: num_tasks or tasks_per_call is less than 1. Errors of `draw` are raised, too.
    """
    if num_tasks < 1 or tasks_per_call < 1:
        raise UserError(f"Tasks and tasks per call must be at least 1, not {num_tasks} and {tasks_per_call}.")
    size = min(tasks_per_call, num_tasks)
    listed = max(num_tasks, workers.count)  # with fewer tasks than workers, the last one is repeated
    first, own = workers.share(listed)
    first = min(first, num_tasks - 1)
    # A worker makes whole calls, out of those that a single process would make, because the seeds of random layers
    # depend on the position of a task in its call.
    starts = range(first - first % size, min(first + own, num_tasks), size)

    def chunk(index):
        left = num_tasks - starts[index]
        return _filled(draw(starts[index], min(size, left)), left, size)

    results = []
    total = min(starts[-1] + size, num_tasks) - starts[0]
    shown = contextlib.nullcontext() if label is None else progress(total, label, "task", leave=False)
    with Prefetcher(chunk, stop=len(starts)) as chunks, shown as display:
        for start, tasks in zip(starts, chunks, strict=True):
            results.append(maml.evaluate(tasks, num_updates, step_size, transductive=transductive))
            if display:
                display.update(min(size, num_tasks - start))
    joined = {name: np.concatenate([r[name] for r in results])[first - starts[0] :][:own] for name in results[0]}
    joined = {name: values[:num_tasks] for name, values in workers.gathered(joined, listed).items()}
    losses = joined.get("losses")
    if "accuracies" in joined:
        return Evaluation("accuracy", joined["support_accuracy"], joined["accuracies"], step_size, transductive, losses)
    return Evaluation("loss", joined["support_loss"], losses, step_size, transductive)


def file_name(
    update_batch_size: int, update_lr: float, conditions: Conditions = USUAL, transductive: bool = True
) -> str:
    """The name of the csv that `write` writes; arguments as for `write`."""
    inductive = "" if transductive else "_inductive"
    return f"test_ubs{update_batch_size}_stepsize{update_lr}{conditions.suffix}{inductive}.csv"


def write(
    evaluation: Evaluation,
    folder: str | Path,
    update_batch_size: int,
    update_lr: float,
    conditions: Conditions = USUAL,
    iteration: int | None = None,
) -> Path:
    """Writes `test_ubs<K>_stepsize<lr>.csv` and `.pkl` as the original does.

    If the test differs from the original's, `conditions.suffix` is added to the names, and `_inductive` if the test is
    not transductive.
    The csv has four rows: names of the columns, means, standard deviations, 95 % confidence intervals. Its column
    "update0" is the SUPPORT metric before adaptation, as in the original. The original's csv ends after "update<U>";
    here follow "query_update0", the query metric before adaptation, and then, for each of these columns, "median_..."
    and "diverged_...": the median over tasks and the number of diverged tasks, which are the same in all rows. The pkl
    is {"mses": [tasks, 1 + num_updates], "iteration": iteration} with the support metric in column 0. Accuracies are
    fractions.

    Args:
        evaluation: the Evaluation to write.
        folder: folder of the files; it is made if it does not exist.
        update_batch_size: support examples per class, K.
        update_lr: step size of the inner updates.
        conditions: conditions of the test.
        iteration: iteration of the checkpoint that was tested; None if it is not a single one.

    Returns:
        The path of the csv.

    Raises:
        UserError: the files cannot be written; older ones stay as they were.
    """
    path = Path(folder) / file_name(update_batch_size, update_lr, conditions, evaluation.transductive)
    try:
        # Neither is put in place before both are written.
        with replacing(path.with_suffix(".pkl")) as pkl, replacing(path) as table:
            with open(pkl, "wb") as file:
                metrics = np.column_stack([evaluation.support, evaluation.query[:, 1:]])
                pickle.dump({"mses": metrics, "iteration": iteration}, file)
            with open(table, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(_csv_rows(evaluation))
    except OSError as error:
        raise UserError(f"The results cannot be written to {path} ({error}).") from error
    return path


def _csv_rows(evaluation):
    columns = np.column_stack([evaluation.support, evaluation.query[:, 1:], evaluation.query[:, 0]])
    names = [*(f"update{i}" for i in range(1 + evaluation.num_updates)), "query_update0"]
    before, *after = zip(evaluation.median.tolist(), evaluation.diverged.tolist(), strict=True)
    medians, diverged = zip((evaluation.support_median, evaluation.support_diverged), *after, before, strict=True)
    header = [*names, *(f"median_{name}" for name in names), *(f"diverged_{name}" for name in names)]
    return [header, *([*row.tolist(), *medians, *diverged] for row in _statistics(columns))]


def _statistics(values):
    """Mean, standard deviation and ci95 over the first axis; NaN and infinity propagate without a warning."""
    # With tasks last and contiguous, the sum of a column is the same to the last digit whatever the other columns are.
    values = np.ascontiguousarray(values.T, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        std = values.std(axis=-1)
    mean, ci95 = mean_ci95(values, axis=-1)
    return mean, std, ci95


def _filled(tasks, wanted, size):
    """Returns Tasks with `size` tasks; if the list ends earlier, its last task is repeated."""
    refuse_ragged(Tasks(*tasks))
    count, given = min(wanted, size), []

    def filled(array):
        array = np.asarray(array)
        given.append(len(array))
        return np.concatenate([array, np.repeat(array[-1:], size - count, axis=0)]) if count < size else array

    arrays = structured(filled, Tasks(*tasks))
    if any(number != count for number in given):
        raise UserError(f"draw gave {given} tasks where {count} were asked for: the data have fewer than --test_tasks")
    return arrays
