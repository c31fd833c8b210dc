"""A run's settings of images: checks that they fit the datasource, and adds them to the name of the run's folder."""

from typing import TYPE_CHECKING

from data_generators import splits
from data_generators.errors import UserError
from maml_tf.runs.settings import check as check_range

if TYPE_CHECKING:
    from maml_tf.supervised.experiment import Experiment

LEAST_SIDE, MOST_SIDE = 16, 4096  # side of an image in pixels; each of four poolings halves it


def check(experiment: "Experiment") -> None:
    """Raises UserError if a setting of images is out of range, or does not fit the datasource."""
    made, name = experiment, experiment.datasource
    for option in ("augment", "normalize"):
        if getattr(made, option) != "none" and not made.dataset.photographs:
            raise UserError(f"--{option} goes with photographs, and {name} has none: leave it out")
    if not made.dataset.resizes:
        if made.splits is not None:
            raise UserError(f"--splits goes with --datasource=folder: {name} has its own")
        for option in ("image_size", "image_channels"):
            if getattr(made, option) is not None:
                raise UserError(f"--{option} goes with --datasource=folder: {name} has its own")
        sides = (getattr(made.dataset, "shape", None) or ())[:2]
        if made.conv and made.max_pool and sides and min(sides) < LEAST_SIDE:
            size = "x".join(str(side) for side in dict.fromkeys(sides))  # one number for a square
            raise UserError(f"images of {size} pixels are too small for --max_pool: give {LEAST_SIDE}")
        return
    least = LEAST_SIDE if made.conv and made.max_pool else 1
    check_range("image_size", made.image_size, least=least, most=MOST_SIDE)
    if made.image_channels not in (1, 3):
        raise UserError(f"--image_channels must be 1 (grey) or 3 (RGB), not {made.image_channels}")


def suffix(experiment: "Experiment") -> str:
    """The part of a run's folder name for lists of classes, augmentation and normalisation; "" without them."""
    said = f".splits{splits.identity(experiment.splits)}" if experiment.splits else ""
    return said + "".join(f".{o}" for o in (experiment.augment, experiment.normalize) if o != "none")
