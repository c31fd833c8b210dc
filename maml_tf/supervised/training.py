"""The training run: meta-steps, progress bar, summaries, validation, checkpoints and resuming.

`gradient_cosine.csv` tells how near the first-order meta-gradient is to the true one, by iteration; the paper
(section 5.2) attributes their similarity to ReLU.
"""

import dataclasses
from pathlib import Path

import numpy as np

from data_generators.errors import UserError
from data_generators.progress import progress
from maml_tf.runs import checkpoints
from maml_tf.runs.log import GRADIENT_COSINE, curve_scalars, summaries, validation_scalars
from maml_tf.runs.loop import Interrupted, StopRequest
from maml_tf.runs.table import Table
from maml_tf.supervised import evaluation
from maml_tf.supervised.experiment import EVALUATION_TASKS
from maml_tf.supervised.report import diverged_sentence
from maml_tf.supervised.steps import steps_for


class CosineLog:
    """Rows of iteration and cosine, to which a resumed run appends.

    Args:
        folder: of the run; exists.
        iteration: where the run starts; what the file has of this iteration and later ones, which a killed run may
            have left, is dropped, since it comes again.
    """

    NAME = "gradient_cosine.csv"

    def __init__(self, folder, iteration):
        self._table = Table(Path(folder) / self.NAME, ["cosine"])
        rows = self._table.begin(iteration)
        self._latest = float(rows[-1]["cosine"]) if rows else None

    @property
    def latest(self):
        """The latest cosine, or None."""
        return self._latest

    def add(self, iteration, cosine):
        """Adds a row. Where it cannot be written, a warning is printed, and the run continues without the file."""
        self._latest = cosine
        self._table.add(iteration, {"cosine": cosine})


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How often, in iterations, what happens; 0 is never. It has no influence on the numbers of the training."""

    summary: int = 100
    save: int = 1000
    validate: int = 2500

    def next_event(self, iteration):
        """The first iteration after this one at which something is due."""
        return min(((iteration // every + 1) * every for every in dataclasses.astuple(self) if every), default=2**62)


class Training:
    """One run of an experiment.

    Args:
        experiment: Experiment.
        maml: MAML, built for it.
        source: task source with `sample(seed, split, iteration, num_tasks)`.
        validation: function (first, count) -> Tasks over the fixed validation list.
        folder: where checkpoints and summaries go; made if need be.
        schedule: Schedule.
        log: whether to write TensorBoard summaries.
        log_gradient_cosine: whether to note how near the first-order meta-gradient is to the true one, as often as
            summaries are due in meta-training: in `gradient_cosine.csv`, in the progress bar and, with `log`, among
            the summaries. It has no influence on the numbers of the training.
    """

    def __init__(
        self,
        experiment,
        maml,
        source,
        validation,
        folder,
        schedule=None,
        log=True,
        log_gradient_cosine=False,
    ):
        self.experiment = experiment
        self.maml = maml
        self.source = source
        self.validation = validation
        self.folder = Path(folder)
        self.schedule = schedule or Schedule()
        self.log = log
        self.log_gradient_cosine = log_gradient_cosine
        self.checkpoints = checkpoints.MAMLCheckpoints(folder, maml, experiment)
        self.iteration = 0
        self._cosines = None
        self._write_scalars = None

    def run(self, resume=True):
        """Trains to the end, or until asked to stop.

        Args:
            resume: continue from the latest checkpoint in the folder, if there is one; otherwise an earlier run's
                folder is renamed.

        Raises:
            UserError: the folder cannot be written, another process trains in it, its checkpoint is of other settings,
                or a loss is not finite.
            Interrupted: the process was asked to stop.
        """
        try:
            self._start(resume)
            if self.iteration < self.experiment.iterations:
                self._train()
        finally:
            self.checkpoints.end()

    def _train(self):
        saved, end = self.iteration, self.experiment.iterations
        steps = steps_for(self.maml, self.experiment, self.source)
        writer, progress_bar = summaries(self.folder, self.log), progress(end, "Training", "step", self.iteration)
        with StopRequest() as stop, steps, writer as self._write_scalars, progress_bar as bar:
            steps.compile_ahead(self.iteration, *([self._evaluate] if self._will_validate() else []))
            while self.iteration < end and not stop.requested:
                self._summarise(steps)
                self._note_gradient_cosine(steps)
                for done, figures in steps.run(self.iteration, self._next_pause()):
                    self._check_finite(figures)
                    bar.set_postfix_str(_show(figures, self._cosines), refresh=False)
                    bar.update(done - self.iteration)
                    self.iteration = done
                    if stop.requested:
                        break
                if self._due(self.schedule.save):
                    saved = self._save()
                if self._due(self.schedule.validate):
                    self._validate(bar)
            if self.iteration > saved:
                self._save()
        if stop.requested:
            raise Interrupted

    def _start(self, resume):
        self.iteration = self.checkpoints.start(resume)
        self._cosines = CosineLog(self.folder, self.iteration) if self.log_gradient_cosine else None

    def _next_pause(self):
        # Pretraining and meta-training are compiled apart, so no call of the runner crosses from one to the other.
        pretrain, end = self.experiment.pretrain_iterations, self.experiment.iterations
        return min(self.schedule.next_event(self.iteration), pretrain if self.iteration < pretrain else end)

    def _will_validate(self):
        every = self.schedule.validate
        return every and (self.iteration // every + 1) * every <= self.experiment.iterations

    def _due(self, every):
        return every and self.iteration % every == 0

    def _save(self):
        maml = self.maml
        optimizers = maml.optimizer.variables + maml.pretrain_optimizer.variables
        if not all(np.isfinite(v.numpy()).all() for v in maml.model.variables + maml.step_sizes + optimizers):
            self._stop_not_finite(self.iteration)
        self.checkpoints.save(self.iteration)
        return self.iteration

    def _check_finite(self, figures):
        finite = np.isfinite(list(figures.values())).all(axis=0)
        if not finite.all():
            self._stop_not_finite(self.iteration + int(np.argmin(finite)))

    def _stop_not_finite(self, iteration):
        raise UserError(
            f"the loss or the weights are no longer finite at iteration {iteration}: training stops and the "
            f"checkpoints in {self.folder} stay as they are; a smaller step size "
            "(main.py's --update_lr or --meta_lr) may help"
        )

    def _summarise(self, steps):
        """Writes the original's scalars: the losses and accuracies of this iteration's tasks before its update."""
        if not self.log or not self._due(self.schedule.summary):
            return
        figures = steps.curves(self.iteration, self.experiment.summary_updates)
        self._write_scalars(curve_scalars(figures), self.iteration)

    def _note_gradient_cosine(self, steps):
        pretraining = self.iteration < self.experiment.pretrain_iterations
        if self._cosines is None or pretraining or not self._due(self.schedule.summary):
            return
        cosine = steps.gradient_cosine(self.iteration)
        self._cosines.add(self.iteration, cosine)
        self._write_scalars({GRADIENT_COSINE: cosine}, self.iteration)

    def _validate(self, bar):
        """Evaluates on the whole fixed validation list."""
        updates, result = self.experiment.published_update, self._evaluate(label="Validation")
        bar.write(
            f"iteration {self.iteration}: validation {result.kind} after {updates} updates "
            f"{result.mean[-1]:.4f} +- {result.ci95[-1]:.4f} (before: {result.mean[0]:.4f})"
            + (f"; {diverged}" if (diverged := diverged_sentence(result)) else "")
        )
        self._write_scalars(validation_scalars(result), self.iteration)

    def _evaluate(self, label=None):
        return evaluation.evaluate(
            self.maml,
            self.validation,
            num_tasks=EVALUATION_TASKS,
            num_updates=self.experiment.published_update,
            tasks_per_call=self.experiment.tasks_per_call,
            label=label,
        )


def _show(figures, cosines):
    """The latest mean figures for the progress bar: before -> after adaptation."""
    kind = "accuracy" if "pre_accuracy" in figures else "loss"
    shown = [f"{figures[f'{when}_{kind}'].mean():.3f}" for when in ("pre", "post") if f"{when}_{kind}" in figures]
    cosine = f", cosine {cosines.latest:.4f}" if cosines is not None and cosines.latest is not None else ""
    return f"{kind} {' -> '.join(shown)}{cosine}"
