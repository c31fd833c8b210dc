"""Compares tests of several runs on the same tasks: their metrics, and their paired differences to the first."""

import functools
import os
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_generators.errors import UserError, listed
from data_generators.files import reading
from data_generators.splits import identity
from maml_tf.runs import checkpoints, style
from maml_tf.runs.statistics import mean_and_ci95
from maml_tf.runs.style import aligned
from maml_tf.supervised.build import train_command
from maml_tf.supervised.conditions import of_tasks
from maml_tf.supervised.dataset_kinds import ImageDataset
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.report import loss_text

AGAIN = "make it by testing the run again, with --train=False"


class Test(NamedTuple):
    """One test of a run.

    label: name that distinguishes it from the other tests.
    file: its pkl.
    metrics: [tasks, 1 + updates], on the support before adaptation and on the query after 1, 2, ... updates.
    experiment: Experiment of the run; None if none of its checkpoints is beside the file.
    tasks: values that decide its tasks, by name; None for a value that is not known.
    iteration: iteration of the checkpoint that was tested; None if it is not known.
    data: folder that holds the run, if its dataset has no default folder of data (such runs are by default in a folder
        named after their data); otherwise None.
    """

    label: str
    file: Path
    metrics: np.ndarray
    experiment: Experiment | None
    tasks: dict[str, Any]
    iteration: int | None = None
    data: Path | None = None

    @property
    def kind(self) -> str:
        """What the metric is: "accuracy", "loss", or "metric" where that is not known."""
        if self.experiment is None:
            return "metric"
        return "accuracy" if _has_classes(self.experiment) else "loss"


def load(paths: Sequence[str]) -> list[Test]:
    """Loads the tests of runs.

    Args:
        paths: paths of folders of runs, or of files of tests.

    Raises:
        UserError: a test is missing, cannot be read, or is on other tasks than the first.
    """
    first, *others = tests = [_load(Path(path)) for path in paths]
    for test in others:
        known = {name: (test.tasks[name], value) for name, value in first.tasks.items() if value is not None}
        differing = [f"{n} {here}, not {there}" for n, (here, there) in known.items() if here not in (None, there)]
        if differing:
            reason = f"{test.file} is a test on other tasks than {first.file}: {', '.join(differing)}"
            raise UserError(f"{reason}; test both with the same flags --test_...")
        if None not in (folders := (first.data, test.data)) and len(set(folders)) > 1:
            where = f"{first.file} lies below {first.data} and {test.file} below {test.data}"
            raise UserError(f"{where}, so their data may be others: put runs of the same data below one --logdir")
    return [test._replace(label=label) for test, label in zip(tests, _labels(tests, paths), strict=True)]


def numbers(tests: Sequence[Test], updates: int | None = None) -> list[dict]:
    """Makes rows of run, iteration, updates, mean, ci95, difference and difference_ci95.

    A difference is the mean over tasks of a test's metric minus the first test's; the first test has None.

    Args:
        tests: tests that `load` has returned.
        updates: number of updates after which to compare; default, the reported one of each run.

    Raises:
        UserError: a test has fewer updates, or the reported number of updates is not known.
    """
    values = [_after(test, updates) for test in tests]
    rows = []
    for test, (update, metric) in zip(tests, values, strict=True):
        mean, ci95 = _mean(metric)
        difference = _mean(metric - values[0][1]) if rows else (None, None)
        row = {"run": test.label, "iteration": test.iteration, "updates": update, "mean": mean, "ci95": ci95}
        rows.append(row | dict(zip(("difference", "difference_ci95"), difference, strict=True)))
    return rows


def table(tests: Sequence[Test], rows: Sequence[dict]) -> str:
    """Formats the rows of `numbers` as text."""
    kind, tasks = tests[0].kind, tests[0].tasks
    where = [tasks["datasource"], *(f"{name} {tasks[name]}" for name in ("ways", "shots", "queries") if tasks[name])]
    unit = " in %" if kind == "accuracy" else ""
    title = f"{kind.capitalize()}{unit} on the same {tasks['tasks']} tasks ({', '.join(filter(None, where))}), "
    header = ["run", "iteration", "updates", kind, "difference to the first"]
    iterations = ["-" if row["iteration"] is None else str(row["iteration"]) for row in rows]
    cells = [
        [row["run"], iteration, str(row["updates"]), *_texts(row, kind)]
        for row, iteration in zip(rows, iterations, strict=True)
    ]
    return "\n".join([f"{title}+- 95 % confidence interval", "", *aligned([header, *cells])])


def size(rows: Sequence[dict]) -> tuple[float, float]:
    """Returns the size of the picture, in inches."""
    return 7.6, 1.1 + 0.3 * len(rows)


def drawing(tests: Sequence[Test]) -> Callable:
    """Returns the function (figure, rows) that draws the rows of `numbers`."""
    return functools.partial(draw, kind=tests[0].kind)


def draw(figure, rows: Sequence[dict], kind: str) -> None:
    """Draws each run's metric and its difference to the first, with confidence intervals, one line per run."""
    metric, difference = figure.subplots(1, 2, sharey=True)
    percent = 100 if kind == "accuracy" else 1
    for panel, names in ((metric, ("mean", "ci95")), (difference, ("difference", "difference_ci95"))):
        places = [i for i, row in enumerate(rows) if row[names[0]] is not None]
        means, ci95s = ([percent * rows[i][name] for i in places] for name in names)
        panel.errorbar(means, places, xerr=ci95s, color=style.BLUE, linestyle="", marker="o", capsize=3)
    difference.axvline(0, color=style.GREY, linewidth=0.8, zorder=0)
    unit = ", %" if kind == "accuracy" else ""
    metric.set(xlabel=f"{kind}{unit}", ylim=(len(rows) - 0.5, -0.5))
    metric.set_yticks(range(len(rows)), [row["run"] for row in rows])
    difference.set(xlabel=f"paired difference to the first{unit}")


def _load(path):
    folder = path if path.is_dir() else path.parent
    experiment = _experiment(folder)
    file = _usual(folder, experiment) if path.is_dir() else _pkl(path)
    if not file.exists():
        missing = f"{path} has no test" if path.is_dir() else f"there is no {file}"
        raise UserError(f"{missing} with the metric of every task: {_remedy(folder, experiment)}")
    metrics, iteration = _metrics(file)
    latest = max(checkpoints.available(folder), default=0)
    of_the_last = path.is_dir() and not re.search(r"_(best|iter\d|ensemble\d)", file.stem)
    if of_the_last and iteration is not None and iteration < latest:
        tested = f"{file} is a test of iteration {iteration}, but the run has {latest}"
        print(f"warning: {tested}: {_remedy(folder, experiment)}", file=sys.stderr)
    shots, conditions = of_tasks(file.stem) or (None, None)
    tasks = dict.fromkeys(("datasource", "splits", "ways", "shots", "queries", "split")) | {"tasks": len(metrics)}
    if experiment is not None:
        tasks["datasource"] = experiment.datasource
        tasks["splits"] = identity(experiment.splits) if experiment.splits else "the data's own"
        tasks["ways"] = experiment.num_classes if _has_classes(experiment) else None
    if conditions is not None:
        tasks |= {"shots": shots, "queries": conditions.queries or shots, "split": conditions.split or "usual"}
        tasks["ways"] = conditions.ways or tasks["ways"]
    dataset = experiment and experiment.dataset
    of_folder = isinstance(dataset, ImageDataset) and dataset.data_dir is None
    data = folder.resolve().parent if of_folder else None
    return Test(os.path.basename(os.path.abspath(path)), file, metrics, experiment, tasks, iteration, data)


def _pkl(path):
    """The pkl of a test; its csv, or its name without an ending, may be given instead."""
    return path.with_suffix(".pkl") if path.suffix in (".csv", ".pkl") else path.with_name(f"{path.name}.pkl")


def _has_classes(experiment):
    return experiment.dataset.loss(1)[1] is not None


def _experiment(folder):
    """Returns the Experiment of the run in a folder, or None if the folder has no checkpoint of this project."""
    try:
        settings = checkpoints.read_settings(folder / f"model{checkpoints.find(folder)}")
    except UserError:
        return None
    if "datasource" not in settings:
        raise UserError(f"{folder} is no run of main.py: scripts.compare_rl compares those of scripts.train_rl")
    return Experiment.of(**settings)


def _usual(folder, experiment):
    """Returns the pkl of a run's usual test, the one that main.py makes by default.

    If that is missing, returns the only test that differs in nothing but shots or step size, or else the only test.
    """
    files = sorted(folder.glob("test_*.pkl"))
    if experiment is not None:
        usual = folder / f"test_ubs{experiment.update_batch_size}_stepsize{experiment.update_lr}.pkl"
        if usual in files or not files:
            return usual
        files = [file for file in files if not _suffix(file)] or files
    if len(files) > 1:
        raise UserError(f"{folder} has several tests: name one of {listed([str(file) for file in files])}")
    return files[0] if files else folder / "test.pkl"


def _remedy(folder, experiment):
    if experiment is None:
        return AGAIN
    return f"make it by `{train_command(experiment, folder.parent)} --train=False`"


class _Arrays(pickle.Unpickler):
    """Reads arrays and nothing else, since other contents of a pickle may run any program."""

    def find_class(self, module, name):
        """Finds a class as pickle.Unpickler does, but refuses all except those of arrays."""
        of_numpy = "_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"
        if (module.split(".")[0] == "numpy" and name in of_numpy) or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")


def _metrics(file):
    try:
        with reading(file, AGAIN), open(file, "rb") as opened:
            held = _Arrays(opened, encoding="latin1").load()
            metrics, iteration = np.asarray(held["mses"], np.float64), held.get("iteration")
    except pickle.UnpicklingError as error:
        raise UserError(f"{file} is damaged or no test ({error}): {AGAIN}") from error
    if metrics.ndim != 2 or not len(metrics) or metrics.shape[1] < 2:
        raise UserError(f"{file} has metrics of the shape {list(metrics.shape)}, not [tasks, 1 + updates]: {AGAIN}")
    return metrics, iteration


def _suffix(file):
    """Returns what a file's name has after shots and step size: "_best", for example, or "" for a usual test."""
    return "".join(f"_{part}" for part in file.stem.split("_")[3:])


def _labels(tests, paths):
    """Returns names of folders, with what is unusual in the test, or of files; the paths if these names repeat."""
    suffixes = [_suffix(test.file) if Path(path).is_dir() else "" for test, path in zip(tests, paths, strict=True)]
    names = [test.label + suffix for test, suffix in zip(tests, suffixes, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [f"{path}{suffix}" for path, suffix in zip(paths, suffixes, strict=True)]


def _after(test, updates):
    """Returns (the number of updates to compare after, the metric of every task then)."""
    most = test.metrics.shape[1] - 1
    if updates is None and test.experiment is None:
        raise UserError(f"the run of {test.file} is not beside it: say after how many updates to compare by --updates")
    update = min(test.experiment.reported_update, most) if updates is None else updates
    if update > most:
        raise UserError(f"{test.file} has {most} updates: give --updates={most} or less")
    return update, test.metrics[:, update]


def _mean(values):
    return mean_and_ci95(values, np.zeros(len(values), bool))


def _texts(row, kind):
    pairs = (row["mean"], row["ci95"]), (row["difference"], row["difference_ci95"])
    if kind == "accuracy":
        return ["" if mean is None else f"{100 * mean:.2f} +- {100 * ci95:.2f}" for mean, ci95 in pairs]
    return ["" if mean is None else loss_text(mean, ci95) for mean, ci95 in pairs]
