"""The network that classifies all classes of the training split jointly."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np

from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from maml_tf import losses, networks
from maml_tf.maml import MAML, adam
from maml_tf.runs.settings import LARGEST_SEED, Settings, setting

# A step works on the parts of a minibatch side by side, one core for each, and normalises each by its own statistics.
# Constant rather than the number of cores, so that the numbers do not depend on the machine.
PARTS = 4


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(Settings):
    """What decides the weights of a classifier, beside the number of iterations; the usual values are the authors'."""

    anew: ClassVar[str] = "for a new classifier, another --logdir"

    datasource: str = setting("of images")
    classes: str = setting("what tells one training split from another, of `describe`")
    num_filters: int = setting("of each convolution", least=1, most=65_536)
    batch_size: int = setting("images of a minibatch", least=1, most=1_000_000)
    learning_rate: float = setting("of Adam", positive=True)
    held_out: float = setting("part of each class to choose the weights by", inside=(0, 1))
    seed: int = setting("of the classifier's weights and order", least=0, most=LARGEST_SEED)

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The authors' values."""
        return {"num_filters": 32, "batch_size": 32, "learning_rate": 1e-3, "held_out": 0.1, "seed": 0}

    def check(self) -> None:
        """Checks the ranges; UserError if a setting is out of it."""
        super().check()
        if self.batch_size % PARTS:
            raise UserError(f"--batch_size must be a multiple of {PARTS}, not {self.batch_size}")

    def differences(self, made: Mapping[str, Any]) -> list[str]:
        """As `Settings.differences`; other images are told as such."""
        if made.get("datasource") == self.datasource and made.get("classes") != self.classes:
            return [f"other images, {made.get('classes')}, than these, {self.classes}"]
        return [text for text in super().differences(made) if not text.startswith("--classes=")]

    @property
    def part_size(self) -> int:
        """Images in one part of a minibatch."""
        return self.batch_size // PARTS


def describe(data: ClassImages) -> str:
    """A line that differs for other classes, or other numbers of images of them."""
    contents = repr([*zip(data.names, np.asarray(data.lengths).tolist(), strict=True)]).encode()
    return f"{data.num_classes} classes, {int(np.sum(data.lengths))} images ({zlib.crc32(contents):08x})"


def build(
    settings: ClassifierSettings,
    input_shape: tuple[int, ...],
    num_classes: int,
    task_axis: str = "auto",
    jit: bool | str = "auto",
) -> MAML:
    """The classifier, its weights drawn from the settings' seed.

    It comes as a MAML whose `pretrain_step` is the training: one step of Adam on the mean cross-entropy of a minibatch,
    whose parts take the place of tasks.

    Args:
        settings: ClassifierSettings.
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
