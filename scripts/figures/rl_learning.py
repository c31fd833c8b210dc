"""Picture of the returns during meta-training, beside those of the original code."""

from collections.abc import Sequence

from data_generators.errors import UserError
from maml_tf.runs import log, published
from rl.build import run_folder, train_command
from rl.envs import find
from rl.experiment import RLExperiment
from rl.training import COLUMNS, PROGRESS
from scripts.figures import style

SIZE = 6.2, 3.2

_STYLES = {
    ("before", "ours"): {"color": style.GREY, "linestyle": "-", "linewidth": 0.9, "label": "before the update"},
    ("after", "ours"): {"color": style.BLUE, "linestyle": "-", "linewidth": 0.9, "label": "after"},
    ("before", "original"): {"color": style.BLACK, "linestyle": ":", "label": "original, before"},
    ("after", "original"): {"color": style.ORANGE, "linestyle": "--", "label": "original, after"},
}


def numbers(experiments: Sequence[RLExperiment], logdir: str | None) -> list[dict]:
    """Rows of whose, seed, iteration, before and after, from the progress.csv of trained runs.

    Args:
        experiments: of the runs, which differ in their seeds.
        logdir: folder of the runs; None is the default.

    Raises:
        UserError: a run is missing, or its file cannot be read.
    """
    rows = []
    for experiment in experiments:
        returns = _returns(experiment, logdir)
        rows += [_row("ours", experiment.seed, int(i), float(before), float(after)) for i, before, after in returns]
    curve = published.original_learning_curve(find(experiments[0].env).published)
    if curve:
        rows += [_row("original", 1, i, *returns) for i, returns in enumerate(zip(*curve, strict=True))]
    return rows


def draw(figure, rows: list[dict]) -> None:
    """Return against iterations, a thin line for each seed."""
    panel = figure.subplots()
    for (moment, whose), line in _STYLES.items():
        seeds = sorted({row["seed"] for row in rows if row["whose"] == whose})
        for number, seed in enumerate(seeds):
            points = [(r["iteration"], r[moment]) for r in rows if (r["whose"], r["seed"]) == (whose, seed)]
            panel.plot(*zip(*points, strict=True), **(line | ({"label": None} if number else {})))
    panel.set_xlabel("iteration")
    panel.set_ylabel("mean return")
    style.legend_below(figure, panel)


def _returns(experiment, logdir):
    """Texts of iteration, return before and after, of the rows of progress.csv that can be read."""
    path = run_folder(experiment, logdir) / PROGRESS
    reason = "it has no rows of them"
    try:
        found = log.read(path, (log.ITERATION, *COLUMNS))
        returns = [[row[name] for name in (log.ITERATION, "return_before", "return_after")] for row in found.rows]
        returns = [row for row in returns if all(row)]
    except OSError as error:
        returns, reason = [], error.strerror or error
    if not returns:
        command = train_command(experiment, logdir)
        raise UserError(f"the returns in {path} cannot be read ({reason}): train by `{command}`")
    if found.damaged or found.half:
        print(f"{path} is damaged: only the rows that can be read are drawn")
    return returns


def _row(whose, seed, iteration, before, after):
    return {"whose": whose, "seed": seed, "iteration": iteration, "before": before, "after": after}
