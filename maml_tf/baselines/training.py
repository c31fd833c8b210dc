"""The network that classifies all training classes, and its training, for `runs.loop.run`.

As in Ravi and Larochelle's code, training uses minibatches of 32 images, Adam with learning rate 1e-3 and 30,000
iterations (50,000 for fine-tuning). They monitor the accuracy of nearest neighbour on validation classes. Here the
weights with the best accuracy on held-out images of the training classes are used, so that validation classes do not
influence them.
"""

import collections
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.minibatches import Minibatches, hold_out
from data_generators.prefetch import Prefetcher
from data_generators.progress import say
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.backend import keras
from maml_tf.baselines.experiment import PARTS, ClassifierSettings
from maml_tf.distribution import ALONE, Alone
from maml_tf.maml import MAML
from maml_tf.optimizers import adam
from maml_tf.runs import loop
from maml_tf.runs.checkpoints import Checkpoints, available
from maml_tf.runs.lock import RunLock, make_writable
from maml_tf.supervised import evaluation

EARLIER, REMEDY = "classifier.npz", "delete it, or give another --logdir"  # EARLIER: an earlier version's file


def build(
    settings: ClassifierSettings,
    input_shape: tuple[int, ...],
    num_classes: int,
    workers: Alone = ALONE,
) -> MAML:
    """Makes the classifier, with weights drawn from the settings' seed.

    It is a MAML whose `pretrain_step` trains it: one step of Adam on the mean cross-entropy of a minibatch, whose parts
    take the place of tasks.

    Args:
        settings: ClassifierSettings.
        input_shape: (height, width, channels).
        num_classes: number of classes in the training split.
        workers: the processes that share each minibatch.

    Raises:
        UserError: the images are smaller than 16x16.
    """
    if min(input_shape[:2]) < 16:
        raise UserError(f"images of {input_shape[0]}x{input_shape[1]} are too small: four poolings need 16x16")
    keras.utils.set_random_seed(settings.seed)
    return MAML(
        networks.conv4(input_shape, num_classes, settings.num_filters, max_pool=True, flatten=True),
        losses.SoftmaxCrossEntropy(settings.part_size),  # makes the loss a mean over images
        accuracy=losses.accuracy,
        first_order=True,
        adapts=lambda variable: True,
        pretrain_optimizer=adam(settings.learning_rate),
        workers=workers,
    )


class ClassifierTraining:
    """The Training of one classifier for `runs.loop.run`, in its own folder.

    Args:
        settings: ClassifierSettings.
        data: the classes of the training split.
        folder: folder of the checkpoints.
        iterations: total number of minibatches.
        save_every, evaluate_every: iterations between checkpoints, and between evaluations on the held-out images.
        workers: the processes that share each minibatch.

    Raises:
        UserError: the settings do not fit the data.
    """

    events = ()  # none: the evaluation decides what is saved, so it is part of an iteration
    remedy = "a smaller --learning_rate may help"

    def __init__(
        self,
        settings: ClassifierSettings,
        data: ClassImages,
        folder: str | Path,
        iterations: int,
        save_every: int = 500,
        evaluate_every: int = 1000,
        workers: Alone = ALONE,
    ):
        self.settings, self.folder, self.end = settings, Path(folder), iterations
        self.save_every, self._evaluate_every = save_every, evaluate_every
        train, held_out = hold_out(data, settings.held_out)
        self._train = Minibatches(train, settings.part_size)
        self._train.sample(settings.seed, 0, PARTS)  # checks that there are enough images
        self._held_out = Minibatches(held_out, min(settings.part_size, int(held_out.lengths.sum()) // 2))
        self.maml = build(settings, data.images.shape[1:], data.num_classes, workers)
        self._best = [tf.Variable(v.numpy(), trainable=False) for v in self.maml.model.variables]
        self._accuracy = tf.Variable(-1.0, dtype=tf.float64, trainable=False)  # until there is one
        self._best_iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        objects = {"model": self.maml.model, "optimizer": self.maml.pretrain_optimizer, "best": self._best}
        objects |= {"accuracy": self._accuracy, "best_iteration": self._best_iteration}
        self.store = Checkpoints(folder, settings, objects, keep=2)
        self._minibatches: Prefetcher[Tasks] | None = None
        self._recent = collections.deque(maxlen=100)

    @property
    def accuracy(self) -> float:
        """The best accuracy on the held-out images so far."""
        return float(self._accuracy.numpy())

    @property
    def best_iteration(self) -> int:
        """The iteration at which the best accuracy was reached."""
        return int(self._best_iteration.numpy())

    def run(self) -> bool:
        """Trains to the end, or until a stop is requested, and resumes from the latest checkpoint; see `loop.run`."""
        if not available(self.folder) and (self.folder / EARLIER).exists():
            self._take_over()
        if iterations_done(self.folder) >= self.end:
            if available(self.folder):
                self.store.restore()  # without the lock, since reading needs none
            return True
        return loop.run(self, self.store, label="Training the classifier", workers=self.maml.workers)

    def use_best_weights(self) -> str:
        """Gives the model the weights that did best on the held-out images; returns a fingerprint of them."""
        best = [variable.numpy() for variable in self._best]
        for variable, value in zip(self.maml.model.variables, best, strict=True):
            variable.assign(value)
        return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in best)).hexdigest()[:16]

    @contextlib.contextmanager
    def opened(self, iteration: int) -> Iterator[None]:
        """While entered, keeps the thread that draws minibatches running."""
        first, size = self.maml.workers.share(PARTS)

        def draw(iteration):
            whole = self._train.sample(self.settings.seed, iteration, PARTS)
            return Tasks(*(values[first : first + size] for values in whole))

        with Prefetcher(draw, iteration, self.end) as self._minibatches:
            yield

    def advance(self, start: int, stop: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Runs iterations start ... stop - 1; yields (iterations done, metrics of the latest iteration).

        Raises:
            UserError: the loss is not finite.
        """
        for done in range(start + 1, stop + 1):
            step = self.maml.pretrain_step(next(self._minibatches))
            metrics = {name: float(value) for name, value in step.items()}
            if not np.isfinite(metrics["pre_loss"]):
                raise loop.NotFinite(done, self.folder, self.remedy)
            if done == self.end or done % self._evaluate_every == 0:
                self._evaluate(done)
            yield done, metrics

    def variables(self) -> list:
        """The weights, and the state of the optimiser."""
        return self.maml.model.variables + self.maml.pretrain_optimizer.variables

    def status(self, metrics: dict[str, float]) -> str:
        """The mean loss and accuracy over the latest 100 iterations."""
        self._recent.append([metrics["pre_loss"], metrics["pre_accuracy"]])
        loss, accuracy = np.mean(self._recent, axis=0)
        return f"loss {loss:.3f}, accuracy {accuracy:.3f}"

    def _evaluate(self, iteration):
        """Keeps the weights if they are the best on the held-out images so far."""
        pairs = self._held_out.num_pairs()
        found = evaluation.evaluate(
            self.maml,
            self._held_out.pairs,
            num_tasks=pairs,
            num_updates=0,
            tasks_per_call=20,
            label="Held-out images",
            workers=self.maml.workers,
        )
        accuracy = float(found.support_mean + found.mean[0]) / 2
        say(f"iteration {iteration}: accuracy on held-out images {accuracy:.4f}", file=sys.stderr)
        if accuracy > self.accuracy:
            self._accuracy.assign(accuracy)
            self._best_iteration.assign(iteration)
            for best, variable in zip(self._best, self.maml.model.variables, strict=True):
                best.assign(variable.value)

    def _take_over(self):
        """Reads the file of an earlier version, and saves its contents as a checkpoint unless the training is done."""
        path = self.folder / EARLIER
        with reading(path, REMEDY):
            saved = _read(path)
            differences = self.settings.differences(json.loads(str(saved["settings"])))
            if differences:
                made_with = ", ".join(differences)
                raise UserError(f"{path} was made with {made_with}: give the same flags or, {self.settings.anew}")
            iteration, accuracy, best_iteration = _progress(saved)
            found = [
                (variable, _like(saved[f"{name}{i}"], variable))
                for name, variables in (("variable", self.variables()), ("best", self._best))
                for i, variable in enumerate(variables)
            ]
        found += [(self._accuracy, accuracy), (self._best_iteration, best_iteration)]
        for variable, value in found:
            variable.assign(value)
        if iteration < self.end:
            make_writable(self.folder)
            lock = RunLock(self.folder)
            try:
                self.store.save(iteration)
            finally:
                lock.release()


def iterations_done(folder: str | Path) -> int:
    """The number of iterations that the training in a folder has done; 0 if there is none.

    Raises:
        UserError: the file of an earlier version is damaged.
    """
    path = Path(folder) / EARLIER
    if available(folder) or not path.exists():
        return max(available(folder), default=0)
    with reading(path, REMEDY):
        return _progress(_read(path))[0]


def _read(path):
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _progress(saved):
    """Returns (iteration, best accuracy, its iteration); raises an error in DAMAGE if `saved` does not hold them."""
    made = json.loads(str(saved["progress"]))
    iteration, accuracy, best = (made[name] for name in ("iteration", "accuracy", "best_iteration"))
    if not all(type(count) is int for count in (iteration, best)) or not 0 <= best <= iteration:
        raise ValueError("its progress is none")
    return iteration, float(accuracy), best


def _like(array, variable):
    """Returns the array if it can be a value of the variable; raises ValueError otherwise."""
    expected = variable.numpy()
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"it has {array.dtype} {array.shape} for {expected.dtype} {expected.shape}")
    return array
