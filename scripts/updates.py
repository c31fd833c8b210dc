"""The numbers of updates after which results are published and compared."""

from maml_tf.supervised.experiment import Experiment
from rl import envs
from rl.experiment import RLExperiment

AFTER_ONE = {"sinusoid_10shot_maml", "point_navigation_maml"}  # rows that are compared after the update of training


def published_update(settings: Experiment | RLExperiment, row: str = "") -> int:
    """Returns the number of updates after which a number was published; for a row, after which it is compared."""
    if row in AFTER_ONE:
        return 1
    if settings.baseline == "oracle":  # it has nothing to adapt to; the original's csv has its error on the support
        return 0
    return settings.reported_update if isinstance(settings, Experiment) else envs.find(settings.env).protocol.updates


def updates_text(number: int) -> str:
    """Formats a number of updates: "1 update", "2 updates"."""
    return f"{number} update{'' if number == 1 else 's'}"
