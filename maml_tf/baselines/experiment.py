"""The settings of the classifier whose embedding both baselines use; imports no TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from data_generators.errors import UserError
from maml_tf.runs.settings import LARGEST_SEED, Settings, setting

# A step processes the parts of a minibatch in parallel, one core for each, and normalises each by its own statistics.
# The number of parts is constant rather than the number of cores, so that results do not depend on the machine.
PARTS = 4


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(Settings):
    """The settings that determine a classifier's weights, besides its iterations; the usual values are the authors'."""

    anew: ClassVar[str] = "for a new classifier, another --logdir"

    datasource: str = setting("datasource of the images")
    classes: str = setting("description of the training split, from `describe`")
    num_filters: int = setting("filters of each convolution of the classifier", least=1, most=65_536)
    batch_size: int = setting("images in a minibatch of the classifier's training", least=1, most=1_000_000)
    learning_rate: float = setting("step size of the classifier's Adam", positive=True)
    held_out: float = setting("fraction of each training class on which the classifier is evaluated", inside=(0, 1))
    seed: int = setting("seed of the classifier's weights and of the order of its images", least=0, most=LARGEST_SEED)

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The authors' values."""
        return {"num_filters": 32, "batch_size": 32, "learning_rate": 1e-3, "held_out": 0.1, "seed": 0}

    def check(self) -> None:
        """Checks the settings' ranges; raises UserError if one is out of range."""
        super().check()
        if self.batch_size % PARTS:
            raise UserError(f"--batch_size must be a multiple of {PARTS}, not {self.batch_size}")

    def differences(self, made: Mapping[str, Any], resuming: bool = False) -> list[str]:
        """As `Settings.differences`, but with a message of its own for other images."""
        if made.get("datasource") == self.datasource and made.get("classes") != self.classes:
            return [f"other images, {made.get('classes')}, than these, {self.classes}"]
        return [text for text in super().differences(made, resuming) if not text.startswith("--classes=")]

    @property
    def part_size(self) -> int:
        """Images in one part of a minibatch."""
        return self.batch_size // PARTS
