"""Draws the validation metric of a run of main.py against its iterations, with the numbers in a csv beside it.

python -m scripts.plot_validation logs/omniglot/cls_5.mbs_32.ubs_1.numstep1.updatelr0.4batchnorm --name=omniglot

Reads the run's TensorBoard summaries and its validation.csv, which has the metric after fewer numbers of updates, and
writes <name>_validation.csv and .png into the run's folder; --out names another folder, or a .png or .pdf. The dashed
horizontal line is the published number, which was measured on the test split.
"""

import functools
import itertools
import math
import re
import sys
from pathlib import Path

from data_generators.errors import UserError
from data_generators.files import reading
from maml_tf.runs import log, style
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import

SIZE = 5.2, 3.2


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.argument("folder", "folder of the run, which main.py prints")
    flags.string("name", None, "name of the files; default: the folder's")
    style.define(flags, "that of the run")


def run(flags: Flags) -> None:
    """Writes the picture."""
    style.check(flags)
    folder = Path(flags.folder)
    with quiet_import():
        from maml_tf.runs import checkpoints
        from maml_tf.supervised.experiment import Experiment
        from maml_tf.supervised.training import VALIDATION

    iteration = checkpoints.find(folder)
    settings = checkpoints.read_settings(folder / f"model{iteration}")
    if "datasource" not in settings:
        raise UserError(f"{folder} is no run of main.py: scripts.plot_rl draws those of scripts.train_rl")
    experiment = Experiment.of(**settings)
    rows = numbers(folder, experiment.reported_update)
    name = flags.name or folder.resolve().name
    (path,) = style.paths(flags, [f"{name}_validation"], folder, reads=[folder / VALIDATION])
    style.write(path, rows, functools.partial(draw, row=experiment.published_row), SIZE)


def numbers(folder: str | Path, reported_update: int) -> list[dict]:
    """Reads rows of iteration, updates and the mean metric on the validation tasks.

    They come from a run's TensorBoard summaries and, where these lack a validation, from its validation.csv. If the run
    was resumed from an earlier checkpoint, the later metric of an iteration replaces the earlier one.

    Args:
        folder: folder of the run.
        reported_update: number of updates after which validation.csv has metrics; it also has those before adaptation.

    Raises:
        UserError: there are no metrics, they cannot be read, or they are of different runs.
    """
    from google.protobuf.message import DecodeError

    found, remedy = {}, "remove the damaged one of its files events.out.tfevents.*"
    try:
        with reading(f"a summary in {folder}", remedy):
            for kind, updates, iteration, metric in itertools.chain(
                _table(folder, reported_update), _summaries(folder)
            ):
                found[iteration, updates] = (kind, metric)
    except DecodeError as error:
        raise UserError(f"a summary in {folder} is damaged ({error}): {remedy}") from error
    if not found:
        raise UserError(f"no validation metrics in {folder}: they are written every --validation_interval iterations")
    if len({kind for kind, _ in found.values()}) > 1:
        raise UserError(f"{folder} has the summaries of different runs, accuracies and losses: {remedy}")
    return [
        {"iteration": iteration, "updates": updates, kind: metric}
        for (iteration, updates), (kind, metric) in sorted(found.items())
    ]


def _table(folder, reported_update):
    """Yields the same as `_summaries`, from validation.csv; skips numbers that are not finite, as summaries do."""
    from maml_tf.supervised.training import VALIDATION

    updates = {"before": 0, "after": reported_update}
    columns = {f"{kind}_{when}": (kind, number) for kind in ("accuracy", "loss") for when, number in updates.items()}
    for row in log.Table(Path(folder, VALIDATION), columns).rows():
        for column, of in columns.items():
            if row[column] and math.isfinite(float(row[column])):
                yield *of, int(row[log.ITERATION]), float(row[column])


def _summaries(folder):
    """Yields kind, updates, iteration and metric of each validation, in the order in which they were written."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    for tag in events.Tags()["tensors"]:
        if match := re.fullmatch(r"Validation (accuracy|loss), step (\d{1,9})", tag):
            for event in events.Tensors(tag):
                yield match[1], int(match[2]), event.step, float(tf.make_ndarray(event.tensor_proto))


def draw(figure, rows: list[dict], row=None) -> None:
    """Draws the metric against iterations: after one update and after the last; losses also before adaptation.

    Accuracies before adaptation are those of chance, and would squeeze the other curves.

    Args:
        figure: matplotlib Figure.
        rows: rows of `numbers`.
        row: published.Row to draw as a line, or None.
    """
    panel = figure.subplots()
    kind, last = list(rows[0])[-1], max(row["updates"] for row in rows)
    percent = 100 if kind == "accuracy" else 1
    styles = {last: (style.BLUE, "-"), 1: (style.ORANGE, "--"), 0: (style.GREY, ":")}
    if kind == "accuracy":
        del styles[0]
    for updates, (color, line) in styles.items():
        points = [(r["iteration"], percent * r[kind]) for r in rows if r["updates"] == updates]
        label = f"after {updates} update{'s' * (updates > 1)}" if updates else "before"
        panel.plot(*zip(*points, strict=True), color=color, linestyle=line, marker=".", label=label)
    if row:
        panel.axhline(row.percent, color=style.BLACK, linestyle="--", linewidth=0.8, label="published (test)")
    panel.set_xlabel("iteration")
    panel.set_ylabel("validation accuracy, %" if kind == "accuracy" else "validation loss")
    style.legend_below(figure, panel)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
