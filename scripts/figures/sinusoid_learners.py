"""Restores the learners of the paper's section 5.1 from runs of main.py, and tabulates their errors."""

import functools
import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf.runs import published
from maml_tf.runs.checkpoints import available
from maml_tf.runs.statistics import mean_ci95
from maml_tf.runs.style import aligned
from maml_tf.supervised import build
from maml_tf.supervised.build import load_run, run_folder, train_command
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.report import loss_text

ITERATIONS = 70_000
STEP_SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
SHOTS = (5, 10, 20)
UPDATES = 10

MAML, PRETRAINED, TUNED, ORACLE = "MAML", "pretrained", "pretrained, tuned", "oracle"
ORIGINAL = {"maml": "original MAML", "pretrained": "original pretrained", "oracle": "original oracle"}
MEAN = "mean"  # in place of a seed: the mean over seeds

# An error above the square of the largest amplitude means that the updates of the task diverge. Gradient descent at the
# paper's step size is only just stable after meta-training, and with few points it may be unstable. A few such tasks
# among 600 dominate every mean.
DIVERGED = 5.0**2

SHOWN_UPDATES = (0, 1, 5, 10)  # in the table


class Learner:
    """A restored run, tested with any number of shots.

    Args:
        run: build.Run.
    """

    def __init__(self, run):
        self.experiment = run.experiment
        self.maml = run.maml
        self._curves = functools.partial(run.maml.curves.graph, num_updates=UPDATES)

    def tasks(self, shots, split="test"):
        """Returns the 600 tasks of a split as Tasks; split: "test" (the tasks of the original code) or "val"."""
        return build.load(self.experiment, None, shots).evaluation_tasks(split, 0, EVALUATION_TASKS)

    def errors(self, shots, *, step_size=None, split="test") -> tuple[np.ndarray, np.ndarray]:
        """Mean squared errors on the 600 tasks of a split.

        Args:
            shots: K of the tasks.
            step_size: step size of the updates; default, that of training.
            split: "test" or "val".

        Returns:
            ([600] on the support before any update, [600, 11] on the query after 0, 1, ... 10 updates), float64.
        """
        tasks = self.tasks(shots, split)
        # One graph for all step sizes and shots, where `MAML.evaluate` would compile one for each.
        of_any_shots = Tasks(*(tf.TensorSpec([len(values), None, *values.shape[2:]], values.dtype) for values in tasks))
        specs = of_any_shots, tf.TensorSpec([], tf.float32)
        step_size = tf.constant(step_size or self.experiment.update_lr)
        found = self.maml.compiler.call_as(specs, UPDATES, self._curves, tasks, step_size)
        return tuple(found[name].numpy().astype(np.float64) for name in ("support_loss", "losses"))

    def tune(self, shots) -> tuple[float, dict[float, tuple[np.ndarray, np.ndarray]]]:
        """Chooses the step size of STEP_SIZES with the least mean error after 10 updates on the validation tasks.

        Args:
            shots: K of the tasks.

        Returns:
            (the best step size, the `errors` on the validation tasks by step size).
        """
        found = {step_size: self.errors(shots, step_size=step_size, split="val") for step_size in STEP_SIZES}
        with np.errstate(invalid="ignore", over="ignore"):
            last = [query[:, -1].mean() for _, query in found.values()]
        return STEP_SIZES[int(np.argmin(np.nan_to_num(last, nan=np.inf)))], found


class Learners(NamedTuple):
    """The learners that the paper compares, all trained with K = 10.

    maml: MAML, by seed.
    pretrained: trained to fit all tasks at once; it adapts like MAML.
    oracle: given amplitude and phase as inputs; it has nothing to adapt to.
    """

    maml: dict[int, Learner]
    pretrained: Learner
    oracle: Learner


def load_learners(logdir=None, seeds=None, iterations=ITERATIONS) -> Learners:
    """Restores the runs of `main.py`; the baselines are those of seed 0.

    Args:
        logdir: folder of the runs; default logs/sinusoid.
        seeds: seeds of the MAML runs; default, those of all finished runs.
        iterations: iterations of training, for all of them.

    Raises:
        UserError: a run is missing or not finished; the message has the command that trains it.
    """
    seeds = sorted(set(seeds or _finished_seeds(logdir, iterations)))
    baseline = {"pretrain_iterations": iterations, "metatrain_iterations": 0}
    return Learners(
        {seed: _load(Experiment.of(metatrain_iterations=iterations, seed=seed), logdir) for seed in seeds},
        _load(Experiment.of(**baseline), logdir),
        _load(Experiment.of(**baseline, baseline="oracle"), logdir),
    )


def _load(experiment, logdir):
    folder, there = run_folder(experiment, logdir), available(run_folder(experiment, logdir))
    if there and experiment.iterations not in there:
        command = train_command(experiment, logdir)
        raise UserError(
            f"the run in {folder} has a checkpoint of iteration {there[-1]} but none of {experiment.iterations}: "
            f"finish it by `{command}`, or give --iterations"
        )
    # Without XLA: compiling by XLA would take longer than what is computed here.
    return Learner(load_run(experiment, logdir, iteration=experiment.iterations, jit=False))


def _finished_seeds(logdir, iterations):
    """Returns the seeds of the finished MAML runs; [0] if there are none, so that the error names a run to train."""
    first = run_folder(Experiment.of(), logdir)
    folders = {re.fullmatch(rf"{re.escape(first.name)}(?:\.seed(\d+))?", f.name): f for f in first.parent.glob("*")}
    return [int(name[1] or 0) for name, folder in folders.items() if name and iterations in available(folder)] or [0]


def error_rows(learners: Learners) -> list[dict]:
    """Computes the errors of all learners, and adds those of the authors' code.

    Returns:
        A row for each combination of
            shots: K of the tasks; all learners were trained with K = 10.
            learner: MAML, PRETRAINED (with the step size of training), TUNED, ORACLE, or a value of ORIGINAL.
            step_size: step size of the updates.
            seed: seed of the run; MEAN for the mean over seeds of each task's error; None for the authors' code.
            split: "test", or "val" for the errors by which the step size was chosen.
            points: "query", or "support" for the error before any update that the authors' code reports.
            updates: number of updates.
        with the `statistics` of the errors on 600 tasks.
    """
    rows = []
    for shots in SHOTS:
        by_seed = [learner.errors(shots) for learner in learners.maml.values()]
        for seed, found in zip(learners.maml, by_seed, strict=True):
            rows += _rows({"shots": shots, "learner": MAML, "step_size": 0.01, "seed": seed}, [found])
        if len(by_seed) > 1:
            rows += _rows({"shots": shots, "learner": MAML, "step_size": 0.01, "seed": MEAN}, by_seed)
        rows += _pretrained_rows(learners.pretrained, shots)
        same = {"shots": shots, "learner": ORACLE, "step_size": 0.01, "seed": 0}
        rows += _rows(same, [learners.oracle.errors(shots)])
    return rows + _original_rows()


def statistics(errors) -> dict[str, float]:
    """Computes the statistics of errors that are reported.

    Args:
        errors: [seeds, tasks].

    Returns:
        mse: mean over tasks of the mean over seeds; NaN or infinite if an error is.
        ci95: half width of its 95 % confidence interval over tasks, 1.96 * std / sqrt(tasks).
        capped_mse, capped_ci95: the same, with errors above DIVERGED and NaN counted as DIVERGED.
        median: median over tasks and seeds, with errors capped in the same way.
        diverged: number of errors, over tasks and seeds, that are above DIVERGED or NaN.
    """
    capped = np.minimum(np.nan_to_num(errors, nan=np.inf), DIVERGED)
    mse, ci95 = _mean_and_ci95(errors)
    capped_mse, capped_ci95 = _mean_and_ci95(capped)
    same = {"mse": mse, "ci95": ci95, "capped_mse": capped_mse, "capped_ci95": capped_ci95}
    return same | {"median": np.median(capped), "diverged": int(np.sum(~(errors <= DIVERGED)))}


def table(rows, iterations) -> str:
    """Formats the errors after 0, 1, 5 and 10 updates as a table.

    Args:
        rows: rows of `error_rows`.
        iterations: iterations of training.
    """
    names = [f"{n} update{'' if n == 1 else 's'}" for n in SHOWN_UPDATES]
    cells = []
    for shots in SHOTS:
        cells += [[f"K = {shots}", "step size", *names, "median", "diverged"], *_lines(rows, shots)]
    lines = ["", *(f"\n{line}" if line.startswith("K = ") else line for line in aligned(cells))]
    return "\n".join(
        [
            "Mean squared error on the query points of 600 test tasks, +- 95 % confidence interval over tasks;",
            f"trained with K = 10 for {iterations} iterations",
            *lines[1:],
            "",
            f"median, diverged: of the errors after {UPDATES} updates, and how many are above {DIVERGED:.0f}",
            "original: the authors' code, run under TensorFlow 1.2.1 for 70000 iterations; *: on the support points",
        ]
    )


def _pretrained_rows(learner, shots):
    best, validation = learner.tune(shots)
    same = {"shots": shots, "learner": PRETRAINED, "step_size": 0.01, "seed": 0}
    rows = _rows(same, [learner.errors(shots)])
    for step_size, found in validation.items():
        rows += _rows(same | {"step_size": step_size}, [found], split="val")
    tuned = same | {"learner": TUNED, "step_size": best}
    return rows + _rows(tuned, [learner.errors(shots, step_size=best)])


def _rows(same, by_seed, split="test"):
    """Makes rows of what `Learner.errors` returned for each seed."""
    support, query = (np.stack(values) for values in zip(*by_seed, strict=True))
    same = same | {"split": split}
    rows = [same | {"points": "support", "updates": 0} | statistics(support)]
    for update in range(query.shape[-1]):
        rows.append(same | {"points": "query", "updates": update} | statistics(query[..., update]))
    return rows


def _original_rows():
    rows = []
    unknown = dict.fromkeys(("capped_mse", "capped_ci95", "median", "diverged"))
    for key, figures in published.original_sinusoid().items():
        same = {"shots": 10, "learner": ORIGINAL[key], "step_size": 0.01, "seed": None, "split": "test"}
        for update, (mse, ci95) in enumerate(zip(*figures, strict=True)):
            points = "query" if update else "support"
            rows.append(same | {"points": points, "updates": update, "mse": mse, "ci95": ci95} | unknown)
    return rows


def _mean_and_ci95(errors):
    with np.errstate(invalid="ignore", over="ignore"):
        return mean_ci95(errors.mean(0))


def _lines(rows, shots):
    """Returns a list of texts for each learner, seed and step size."""
    lines = {}
    for row in rows:
        query = row["points"] == "query" or row["learner"] in ORIGINAL.values()
        if row["shots"] == shots and row["split"] == "test" and query:
            lines.setdefault((_name(row), f"{row['step_size']:g}"), {})[row["updates"]] = row
    return [[*key, *(_text(of_key.get(n)) for n in SHOWN_UPDATES), *_last(of_key)] for key, of_key in lines.items()]


def _name(row):
    if row["learner"] != MAML:
        return row["learner"]
    return "MAML, mean over seeds" if row["seed"] == MEAN else f"MAML, seed {row['seed']}"


def _text(row):
    if row is None:
        return ""
    text = f"{row['mse']:.4g}" if row["ci95"] is None else loss_text(row["mse"], row["ci95"])
    return text + ("*" if row["points"] == "support" else "")


def _last(of_key):
    last = of_key.get(UPDATES)
    if last is None or last["median"] is None:
        return ["", ""]
    return [f"{last['median']:.4g}", str(last["diverged"])]
