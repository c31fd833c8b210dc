"""The network that classifies all classes of the training split jointly."""

import dataclasses
import zlib

import keras
import numpy as np

from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from maml_tf import losses, networks
from maml_tf.maml import MAML, adam
from maml_tf.supervised.experiment import check_count, check_seed

# A step works on the parts of a minibatch side by side, one core for each, and normalises each by its own statistics.
# Constant rather than the number of cores, so that the numbers do not depend on the machine.
PARTS = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the weights of a classifier, beside the number of iterations; the defaults are those of the authors.

    classes: what tells one training split from another, of `describe`.
    """

    datasource: str
    classes: str
    num_filters: int = 32
    batch_size: int = 32
    learning_rate: float = 1e-3
    held_out: float = 0.1
    seed: int = 0

    def validate(self):
        """Checks the values by themselves.

        Raises:
            UserError: one is out of range.
        """
        check_count("num_filters", self.num_filters, 1, 65_536)
        check_count("batch_size", self.batch_size, 1, 1_000_000)
        if self.batch_size % PARTS:
            raise UserError(f"--batch_size must be a multiple of {PARTS}, not {self.batch_size}")
        check_seed(self.seed)
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"--learning_rate must be a positive number, not {self.learning_rate}")
        if not 0 < self.held_out < 1:
            raise UserError(f"--held_out must lie between 0 and 1, not at {self.held_out}")

    @property
    def part_size(self) -> int:
        """Images in one part of a minibatch."""
        return self.batch_size // PARTS


def describe(data: ClassImages) -> str:
    """A line that differs for other classes, or other numbers of images of them."""
    contents = repr([*zip(data.names, np.asarray(data.lengths).tolist(), strict=True)]).encode()
    return f"{data.num_classes} classes, {int(np.sum(data.lengths))} images ({zlib.crc32(contents):08x})"


def build(settings: Settings, input_shape: tuple[int, ...], num_classes: int, task_axis="auto", jit="auto") -> MAML:
    """The classifier, its weights drawn from the settings' seed.

    It comes as a MAML whose `pretrain_step` is the training: one step of Adam on the mean cross-entropy of a minibatch,
    whose parts take the place of tasks.

    Args:
        settings: Settings.
        input_shape: (height, width, channels).
        num_classes: of the training split.
        task_axis, jit: see `task_axis.resolve`.
    """
    if min(input_shape[:2]) < 16:
        raise UserError(f"images of {input_shape[0]}x{input_shape[1]} are too small: four poolings need 16x16")
    keras.utils.set_random_seed(settings.seed)
    return MAML(
        networks.conv4(input_shape, num_classes, settings.num_filters, max_pool=True, flatten=True),
        losses.SoftmaxCrossEntropy(settings.part_size),  # which makes it a mean over images
        accuracy=losses.accuracy,
        first_order=True,
        adapts=lambda variable: True,
        pretrain_optimizer=adam(settings.learning_rate),
        task_axis=task_axis,
        jit=jit,
    )
