"""The training of an experiment, for `runs.loop.run`: its steps, summaries, validations and the best checkpoints.

`validation.csv` holds every validation. `gradient_cosine.csv` holds, by iteration, the cosine of the first-order
meta-gradient and the true one; the paper (section 5.2) attributes their similarity to ReLU. `data.json` describes the
images (see `trained_images`).
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_generators.progress import say
from maml_tf.maml import MAML
from maml_tf.runs.best import Rank
from maml_tf.runs.checkpoints import available
from maml_tf.runs.log import ITERATION, Dispensable, Table, summaries
from maml_tf.runs.loop import Event, NotFinite
from maml_tf.supervised import build, evaluation, trained_images
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.report import diverged_sentence
from maml_tf.supervised.steps import CompiledSteps, HostSteps, Metrics, gradient_cosine, phase_ends, step_at, steps_for
from maml_tf.supervised.task_data import TaskData

GRADIENT_COSINE = "Cosine of first- and second-order meta-gradient"
VALIDATION = "validation.csv"


class Schedule(NamedTuple):
    """Iterations between summaries, checkpoints and validations, 0 for never; the weights do not depend on them.

    If there are validations, there is also one at the end. `tasks` is the number of tasks of each validation; default,
    as many as in a test.
    """

    summary: int = 100
    save: int = 1000
    validate: int = 2500
    tasks: int | None = None


class SupervisedTraining:
    """The Training of one experiment for `runs.loop.run`: pretraining, and then meta-training.

    Args:
        experiment: Experiment.
        maml: MAML built for the experiment.
        data: TaskData; its source and its validation tasks are used.
        folder: the run's folder.
        schedule: Schedule.
        log: whether to write TensorBoard summaries.
        log_gradient_cosine: whether to record the cosine of the first-order meta-gradient and the true one whenever a
            summary is due in meta-training: in `gradient_cosine.csv`, in the progress bar and, with `log`, among the
            summaries. It does not affect the training.
    """

    remedy = "a smaller step size (main.py's --update_lr or --meta_lr) may help"

    def __init__(
        self,
        experiment: Experiment,
        maml: MAML,
        data: TaskData,
        folder: str | Path,
        schedule: Schedule | None = None,
        log: bool = True,
        log_gradient_cosine: bool = False,
    ):
        self.experiment, self.maml, self.data, self.folder = experiment, maml, data, Path(folder)
        self.log, self.log_gradient_cosine = log, log_gradient_cosine
        self.schedule = schedule or Schedule()
        self._steps: HostSteps | CompiledSteps | None = None
        self._write_scalars: Callable[..., None] | None = None
        self._cosines: Table | None = None
        self._latest_cosine: float | None = None
        self._first, _ = maml.workers.share(experiment.meta_batch_size)
        cosine = functools.partial(gradient_cosine, maml, first=self._first)
        self._cosine_of = {last: functools.partial(cosine, last=last) for last in (False, True)}
        kind = "accuracy" if maml.accuracy else "loss"
        columns = f"{kind}_before", f"{kind}_after", "ci95", "median_after", "diverged_after"
        self._validations = Table(self.folder / VALIDATION, columns)
        self._best = build.best_store(self.folder, maml, experiment, self.tasks_of_validation)

    @property
    def end(self) -> int:
        """The total number of iterations."""
        return self.experiment.iterations

    @property
    def save_every(self) -> int:
        """Iterations between checkpoints."""
        return self.schedule.save

    @property
    def events(self) -> Sequence[Event]:
        """Summaries, cosines of gradients, and validations."""
        every = self.schedule.summary
        return [
            Event(every, self._summarise, before=True),
            Event(every if self.log_gradient_cosine else 0, self._note_gradient_cosine, before=True),
            Event(self.schedule.validate, self._validate, at_end=True, missed=self._missed_validation),
        ]

    def refuse_other_images(self) -> None:
        """Refuses to resume a run on other images than it was trained on; see `trained_images.refuse_others`."""
        if available(self.folder):
            trained_images.refuse_others(self.folder, self.data, self.experiment.anew)

    @contextlib.contextmanager
    def opened(self, iteration: int) -> Iterator[None]:
        """While entered, keeps the thread that draws tasks, the tables and the summaries open."""
        if self.schedule.validate or self._validations.path.exists():
            self._validations.begin(iteration + 1)
        self._best.begin(iteration)
        if self.schedule.validate:
            self._best.refuse_other_validations()
        if iteration == 0 and self.data.description() is not None:
            Dispensable(self.folder / trained_images.DATA)(trained_images.record, self.folder, self.data)
        if self.log_gradient_cosine:
            self._cosines = Table(self.folder / "gradient_cosine.csv", ["cosine"])
            rows = self._cosines.begin(iteration)
            self._latest_cosine = float(rows[-1]["cosine"]) if rows else None
        steps = steps_for(self.maml, self.experiment, self.data.source)
        with steps as self._steps, summaries(self.folder, self.log) as self._write_scalars:
            self._steps.compile_ahead(iteration, *([self.evaluate] if self.schedule.validate else []))
            yield

    def advance(self, start: int, stop: int) -> Iterator[tuple[int, Metrics]]:
        """Runs iterations start ... stop - 1; yields (iterations done, metrics of each iteration since the last yield).

        Raises:
            UserError: a loss is not finite.
        """
        # Each phase is compiled separately, so no call of `run` goes beyond the end of a phase.
        ends = [end for end in phase_ends(self.experiment) if start < end < stop]
        for first, last in itertools.pairwise([start, *ends, stop]):
            for done, metrics in self._steps.run(first, last):
                self._check_finite(start, metrics)
                yield done, metrics
                start = done

    def variables(self) -> list:
        """All variables of the MAML that a checkpoint holds."""
        maml = self.maml
        return [
            *maml.model.variables,
            *maml.step_sizes,
            *maml.slots,
            *maml.optimizer.variables,
            *maml.pretrain_optimizer.variables,
        ]

    def status(self, metrics: Metrics) -> str:
        """The latest mean metrics, before -> after adaptation."""
        kind = "accuracy" if "pre_accuracy" in metrics else "loss"
        shown = [f"{metrics[f'{when}_{kind}'].mean():.3f}" for when in ("pre", "post") if f"{when}_{kind}" in metrics]
        cosine = "" if self._latest_cosine is None else f", cosine {self._latest_cosine:.4f}"
        return f"{kind} {' -> '.join(shown)}{cosine}"

    def _check_finite(self, start, metrics):
        finite = np.isfinite(list(metrics.values())).all(axis=0)
        if not finite.all():
            raise NotFinite(start + int(np.argmin(finite)), self.folder, self.remedy)

    def _summarise(self, iteration):
        if self.log:
            self._write_scalars(self.summary(self._steps, iteration), iteration)

    def summary(self, steps: HostSteps | CompiledSteps, iteration: int) -> dict[str, float]:
        """Computes the original's scalars: losses and accuracies on an iteration's tasks, before its update."""
        curves = steps.measure(self._curves, iteration)
        return curve_scalars(self.maml.workers.gathered(curves, self.experiment.meta_batch_size))

    def _curves(self, tasks):
        return self.maml.curves.graph(tasks, num_updates=self.experiment.summary_updates, first=self._first)

    def _note_gradient_cosine(self, iteration):
        if iteration < self.experiment.pretrain_iterations:
            return
        cosine = self._latest_cosine = self.cosine(self._steps, iteration)
        self._cosines.add(iteration, {"cosine": cosine})
        self._write_scalars({GRADIENT_COSINE: cosine}, iteration)

    def cosine(self, steps: HostSteps | CompiledSteps, iteration: int) -> float:
        """The cosine of the first- and the second-order meta-gradient on an iteration's tasks, before its update."""
        _, told = step_at(self.maml, self.experiment, iteration)
        return float(steps.measure(self._cosine_of[told.get("last", False)], iteration))

    def _validate(self, iteration):
        """Evaluates on the fixed validation list, and keeps the checkpoint if it is among the best."""
        updates, result = self.experiment.reported_update, self.evaluate(label="Validation")
        say(
            f"iteration {iteration}: validation {result.kind} after {updates} updates "
            f"{result.mean[-1]:.4f} +- {result.ci95[-1]:.4f} (before: {result.mean[0]:.4f})"
            + (f"; {diverged}" if (diverged := diverged_sentence(result)) else "")
        )
        self._write_scalars(validation_scalars(result), iteration)
        if all(np.isfinite(np.asarray(variable)).all() for variable in self.variables()):  # as for every checkpoint
            self._best.offer(iteration, rank(result))
        # The row comes last, because it records that all of this has happened.
        row = result.mean[0], result.mean[-1], result.ci95[-1], result.median[-1], result.diverged[-1]
        self._validations.add(iteration, dict(zip(self._validations.columns[1:], row, strict=True)))

    def _missed_validation(self, iteration):
        """Whether the table lacks the validation of an iteration; runs of earlier versions have no table."""
        rows = self._validations.rows() if self._validations.path.exists() else None
        return rows is not None and str(iteration) not in {row[ITERATION] for row in rows}

    @property
    def tasks_of_validation(self) -> int:
        """The number of tasks of each validation."""
        return self.schedule.tasks or EVALUATION_TASKS

    def evaluate(self, label: str | None = None, num_tasks: int | None = None) -> Evaluation:
        """Validates with the current weights, on `num_tasks` tasks; by default, on as many as the schedule says."""
        return evaluation.evaluate(
            self.maml,
            self.data.validation_tasks,
            num_tasks=num_tasks or self.tasks_of_validation,
            num_updates=self.experiment.reported_update,
            tasks_per_call=self.experiment.dataset.tasks_per_call,
            label=label,
            workers=self.maml.workers,
        )


def curve_scalars(curves: Metrics) -> dict[str, float]:
    """Returns the original's scalars, by the original's names: means over tasks of the results of `MAML.evaluate`."""
    scalars = {}
    for name, after in (("loss", "losses"), ("accuracy", "accuracies")):
        if after in curves:
            scalars[f"Pre-update {name}"] = curves[f"support_{name}"].mean()
            means = enumerate(curves[after].mean(0)[1:], start=1)
            scalars |= {f"Post-update {name}, step {update}": mean for update, mean in means}
    return scalars


def rank(evaluation: Evaluation) -> Rank:
    """Returns the rank of a validation: by the mean after the last update, highest accuracy or lowest loss first.

    A single diverged task makes the mean loss meaningless, so validations with diverged tasks come last, ordered by
    their median.
    """
    if evaluation.kind == "accuracy":
        return 0.0, -float(evaluation.mean[-1])
    if evaluation.diverged[-1]:
        return 1.0, float(evaluation.median[-1])
    return 0.0, float(evaluation.mean[-1])


def validation_scalars(evaluation: Evaluation) -> dict[str, float]:
    """Returns the means of an Evaluation; if tasks diverged, also their number, the median and the others' mean."""
    kind = evaluation.kind
    scalars = {f"Validation {kind}, step {update}": value for update, value in enumerate(evaluation.mean)}
    for update, count in enumerate(evaluation.diverged):
        if count:
            scalars[f"Validation diverged tasks, step {update}"] = count
            scalars[f"Validation median {kind}, step {update}"] = evaluation.median[update]
            scalars[f"Validation {kind} without diverged tasks, step {update}"] = evaluation.without_diverged(update)[0]
    return scalars
