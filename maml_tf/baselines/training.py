"""The training of the classifier: minibatches, progress bar, choice of the weights, saving and resuming.

As in Ravi and Larochelle's code, minibatches of 32 images, Adam with rate 1e-3 and 30,000 iterations (50,000 for
fine-tuning). They watch the accuracy of nearest neighbour on validation classes; here the weights are those with the
best accuracy on held-out images of the training classes, so that no validation class has a say in them.

Keras's own `BackupAndRestore` begins an epoch anew, and so is no exact resume; hence the loop.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.minibatches import Minibatches, hold_out
from data_generators.prefetch import Prefetcher
from data_generators.progress import progress as progress_display
from maml_tf.baselines import comparison
from maml_tf.baselines.classifier import PARTS, Settings, build
from maml_tf.runs.lock import RunLock, make_writable, remove_leftovers
from maml_tf.runs.loop import Interrupted, StopRequest
from maml_tf.supervised import evaluation

FILE = "classifier.npz"


@dataclasses.dataclass
class Progress:
    """How far a training has come.

    iteration: minibatches done.
    accuracy: best on the held-out images so far; -1 before they have been judged.
    best_iteration: at which it was reached.
    seconds: of training, over all sessions.
    """

    iteration: int = 0
    accuracy: float = -1.0
    best_iteration: int = 0
    seconds: float = 0.0

    @classmethod
    def of_text(cls, text: str) -> "Progress":
        """From JSON; ValueError or TypeError if it is something else."""
        progress = cls(**json.loads(text))
        counts = progress.iteration, progress.best_iteration
        if not all(type(count) is int for count in counts) or not 0 <= progress.best_iteration <= progress.iteration:
            raise ValueError("its progress is none")
        if not all(type(value) in (int, float) for value in (progress.accuracy, progress.seconds)):
            raise ValueError("its progress is none")
        return progress


class ClassifierTraining:
    """One training, in a folder of its own.

    Args:
        settings: Settings.
        data: the classes of the training split.
        folder: where `classifier.npz` is kept.
        save_every, judge_every: iterations between savings, and between judgements on the held-out images.
        task_axis, jit: see `task_axis.resolve`.

    Raises:
        UserError: the settings do not fit the data.
    """

    def __init__(
        self,
        settings: Settings,
        data: ClassImages,
        folder: str | Path,
        save_every: int = 500,
        judge_every: int = 1000,
        task_axis="auto",
        jit="auto",
    ):
        settings.validate()
        self.settings = settings
        self.path = Path(folder) / FILE
        self._every = {"save": save_every, "judge": judge_every}
        train, held_out = hold_out(data, settings.held_out)
        self._train = Minibatches(train, settings.part_size)
        self._train.sample(settings.seed, 0, PARTS)  # which finds out whether there are images enough
        self._held_out = Minibatches(held_out, min(settings.part_size, int(held_out.lengths.sum()) // 2))
        self.maml = build(settings, data.images.shape[1:], data.num_classes, task_axis, jit)
        self.progress = Progress()
        self._best = [v.numpy() for v in self.maml.model.variables]

    def run(self, iterations: int):
        """Trains to the given iteration, or until asked to stop; resumes from what is saved.

        Raises:
            UserError: what is saved is damaged or of other settings; it cannot be written; another process trains in
                the folder; the loss is not finite.
            Interrupted: the process was asked to stop, by Ctrl-C or SIGTERM; the last iteration is saved.
        """
        self._restore()
        if self.progress.iteration >= iterations:
            return  # without the lock, since reading needs none
        make_writable(self.path.parent)
        lock = RunLock(self.path.parent)
        try:
            self._train_until(iterations)
        finally:
            lock.release()

    def _train_until(self, iterations):
        self._restore()  # another process may have trained until now
        remove_leftovers(self.path.parent)
        progress = self.progress
        if progress.iteration:
            print(f"Resuming the training of the classifier from iteration {progress.iteration}")
        draw = functools.partial(self._train.sample, self.settings.seed, num_parts=PARTS)
        with (
            StopRequest() as stop,
            Prefetcher(draw, progress.iteration, iterations) as minibatches,
            progress_display(iterations, "Training the classifier", "step", progress.iteration) as bar,
        ):
            self._run(minibatches, iterations, stop, bar)
        if progress.iteration < iterations:
            raise Interrupted

    def use_best_weights(self) -> str:
        """Gives the model the weights that did best on the held-out images; returns a fingerprint of them."""
        for variable, value in zip(self.maml.model.variables, self._best, strict=True):
            variable.assign(value)
        return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in self._best)).hexdigest()[:16]

    def _run(self, minibatches, iterations, stop, bar):
        progress, recent, since = self.progress, collections.deque(maxlen=100), time.monotonic()
        for minibatch in minibatches:
            figures = self.maml.pretrain_step(minibatch)
            recent.append([float(figures["pre_loss"]), float(figures["pre_accuracy"])])
            self._check_finite(recent[-1][0])
            progress.iteration += 1
            loss, accuracy = np.mean(recent, axis=0)
            bar.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.3f}", refresh=False)
            bar.update()
            last = progress.iteration == iterations
            if last or progress.iteration % self._every["judge"] == 0:
                self._judge(bar)
            if last or stop.requested or progress.iteration % self._every["save"] == 0:
                progress.seconds += time.monotonic() - since
                since = time.monotonic()
                self._save()
            if stop.requested:
                return

    def _check_finite(self, loss):
        if not np.isfinite(loss):
            raise UserError(
                f"the classifier's loss is no longer finite at iteration {self.progress.iteration + 1}: training stops "
                f"and {self.path} stays as it is; a smaller --learning_rate may help"
            )

    def _judge(self, bar):
        """Keeps the weights if they are the best on the held-out images so far."""
        pairs = self._held_out.num_pairs()
        judged = evaluation.evaluate(
            self.maml, self._held_out.pairs, num_tasks=pairs, num_updates=0, tasks_per_call=20, label="Held-out images"
        )
        accuracy = float(judged.support_mean + judged.mean[0]) / 2
        bar.write(f"iteration {self.progress.iteration}: accuracy on held-out images {accuracy:.4f}", file=sys.stderr)
        if accuracy > self.progress.accuracy:
            self.progress.accuracy, self.progress.best_iteration = accuracy, self.progress.iteration
            self._best = [v.numpy() for v in self.maml.model.variables]

    def _variables(self):
        return self.maml.model.variables + self.maml.pretrain_optimizer.variables

    def _save(self):
        arrays = {f"variable{i}": v.numpy() for i, v in enumerate(self._variables())}
        arrays |= {f"best{i}": value for i, value in enumerate(self._best)}
        arrays["settings"] = np.array(json.dumps(dataclasses.asdict(self.settings)))
        arrays["progress"] = np.array(json.dumps(dataclasses.asdict(self.progress)))
        comparison.write_arrays(self.path, arrays)

    def _restore(self):
        saved = comparison.read_arrays(self.path)
        if saved is None:
            return
        with reading(self.path, comparison.REMEDY):
            self._refuse_other(json.loads(str(saved["settings"])))
            variables = self._variables()
            values = [_like(saved[f"variable{i}"], variable) for i, variable in enumerate(variables)]
            best = [_like(saved[f"best{i}"], variable) for i, variable in enumerate(self.maml.model.variables)]
            progress = Progress.of_text(str(saved["progress"]))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self._best, self.progress = best, progress

    def _refuse_other(self, made):
        now = dataclasses.asdict(self.settings)
        names = [name for name in now if made.get(name) != now[name]]
        if "classes" in names and "datasource" not in names:
            raise UserError(
                f"the classifier in {self.path} was trained on other images, {made.get('classes')}, than these, "
                f"{now['classes']}: give the same --data_dir or, for a new classifier, another --logdir"
            )
        if names:
            flags = ", ".join(f"--{name}={made.get(name)} (now {now[name]})" for name in names if name != "classes")
            raise UserError(
                f"the classifier in {self.path} was made with {flags}: give the same flags or, for a new classifier, "
                "another --logdir"
            )


def progress_of(folder: str | Path) -> Progress | None:
    """How far the training in a folder has come; None where there is none.

    Raises:
        UserError: its file is damaged.
    """
    path = Path(folder) / FILE
    saved = comparison.read_arrays(path)
    with reading(path, comparison.REMEDY):
        return None if saved is None else Progress.of_text(str(saved["progress"]))


def _like(array, variable):
    """An array, if it can be a value of a variable; ValueError otherwise."""
    expected = variable.numpy()
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"it has {array.dtype} {array.shape} for {expected.dtype} {expected.shape}")
    return array
