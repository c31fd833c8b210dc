"""What `main.py --export_dir` does: a checkpoint of a run becomes a SavedModel."""

import dataclasses
from typing import NamedTuple

from data_generators import miniimagenet, omniglot
from maml_tf import checkpoints, problems, trained
from maml_tf.export import export, refuse_unless_free


class Shapes(NamedTuple):
    """What a network has to know of its data."""

    input_shape: tuple[int, ...]
    output_size: int


def export_run(experiment, folder, iteration, flags):
    """Exports a checkpoint, and prints where to.

    Args:
        experiment: Experiment, as it was trained.
        folder: of the checkpoints.
        iteration: of the checkpoint; None, the latest.
        flags: absl flags as `main.py` defines them.

    Returns:
        The exit code: 0.

    Raises:
        UserError: the export's folder is not empty or cannot be written; there is no such checkpoint; or it is damaged
            or of other settings.
    """
    refuse_unless_free(flags.export_dir)
    checkpoints.find(folder, iteration)
    maml = problems.build(experiment, _shapes(experiment, flags.data_dir), "map", False)
    iteration, _ = trained.restore(maml, experiment, folder, iteration)
    print(f"Exporting the checkpoint of iteration {iteration}")
    settings = dataclasses.asdict(experiment)
    about = {"datasource": experiment.datasource, "iteration": iteration, "settings": settings}
    print(f"Written to {export(maml, flags.export_dir, transductive=flags.export_transductive, about=about)}")
    return 0


def _shapes(experiment, data_dir):
    """The shapes of the data; those of published images are known without them, so they need not be there to export."""
    known = {"omniglot": (omniglot.SIDE, omniglot.SIDE, 1), "miniimagenet": (miniimagenet.SIDE, miniimagenet.SIDE, 3)}
    if experiment.datasource in known:
        return Shapes(known[experiment.datasource], experiment.num_classes)
    return problems.load(experiment, data_dir).source
