"""Formats an evaluation as plain text for the terminal, with the numbers published for the same setting."""

import numpy as np

from maml_tf.runs import published
from maml_tf.runs.statistics import TIMES_MEDIAN
from maml_tf.runs.style import aligned
from maml_tf.supervised.conditions import USUAL, ZERO, Conditions
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.variants import described


def report(
    evaluation: Evaluation,
    experiment: Experiment,
    split: str,
    shots: int | None = None,
    conditions: Conditions = USUAL,
) -> str:
    """Returns a table of the metric after every update, with the published numbers.

    For image tasks, these are the column of table 1 for the same ways and shots, with MAML's own row first. For
    sinusoid tasks with the paper's settings, they are the errors of the authors' code. Published numbers are always of
    the test split, and are labelled so if ours are not. If tasks diverge, the median and the number of diverged tasks
    are shown beside each mean.

    Args:
        evaluation: Evaluation.
        experiment: Experiment, the settings of the run.
        split: the split whose tasks were evaluated, "test" or "val".
        shots: K of these tasks, if it is not that of training.
        conditions: conditions of the test.

    Returns:
        Lines without a line break after the last.
    """
    shots = shots or experiment.update_batch_size
    unit = " in %" if evaluation.kind == "accuracy" else ""
    lines = [
        f"{evaluation.kind.capitalize()}{unit} on {evaluation.num_tasks} {split} tasks, +- 95 % confidence interval",
        *filter(None, [conditions.which]),
        _conditions(evaluation, experiment, shots),
        *filter(None, [conditions.text(experiment.num_classes)]),
        *_normalisation(evaluation, experiment),
        "",
    ]
    if evaluation.kind == "loss":
        return "\n".join([*lines, *_regression_lines(evaluation, experiment, split, shots, conditions)])
    header, columns = _columns(evaluation)
    lines += [*aligned([header, *zip(*columns, strict=True)]), *_diverged(evaluation), ""]
    return "\n".join(lines + _table_1_lines(evaluation, experiment, split, shots, conditions))


def _conditions(evaluation, experiment, shots):
    """Returns one line on how these numbers were obtained."""
    step_size = evaluation.step_size or experiment.update_lr
    learns = experiment.step_sizes != "fixed" and evaluation.step_size is None
    learned = " (meta-learned from there)" if learns else ""
    adaptation = f"K = {shots}, step size {step_size}{learned}"
    return "; ".join([adaptation, _network(experiment), _training(experiment)])


def _normalisation(evaluation, experiment):
    """Returns a line on which statistics normalise the queries, if they make a difference or the user chose them."""
    batch_norm = experiment.norm in ("batch_norm", "per_update_batch_norm")
    if batch_norm and evaluation.transductive:
        return ["transductive: queries are normalised by their own batch statistics, as in the paper"]
    if batch_norm:
        return [
            "not transductive (inductive): queries are normalised by the statistics of the support, not by their own"
        ]
    if not evaluation.transductive:
        return ["not transductive, which makes no difference without batch normalisation"]
    return []


def _network(experiment):
    norm = "no normalisation" if experiment.norm == "None" else experiment.norm
    network = experiment.dataset.describe_network(experiment)
    return ", ".join([network, norm] + ([experiment.baseline] if experiment.baseline else []))


def _training(experiment):
    if experiment.metatrain_iterations == 0:
        return "pretrained only"
    shots, updates = experiment.update_batch_size, experiment.num_updates
    order = ", first order" if experiment.stop_grad else ", second order"
    order = order if experiment.algorithm == "maml" else ""
    start = ", after pretraining" if experiment.pretrain_iterations else ""
    batch = f"{experiment.meta_batch_size} tasks"
    variant = f", {text}" if (text := described(experiment)) else ""
    return f"trained with K = {shots}, {updates} {_plural(updates)}, {batch}{order}{start}{variant}"


def _regression_lines(evaluation, experiment, split, shots, conditions):
    """Returns our losses, beside those of the authors' code if the settings are the same."""
    (header, columns), note = _columns(evaluation), []
    original = experiment.dataset.original()
    same_test = shots == experiment.update_batch_size and conditions.is_usual
    if original and same_test and _is_original(evaluation, experiment):
        header += ["original MAML", "original pretrained"]
        columns += [_original(original[learner], len(columns[0])) for learner in ("maml", "pretrained")]
        tasks = "its 600 test tasks" if split == "test" else "its 600 tasks of the test split"
        note = ["", f"original: the authors' code, run under TensorFlow 1.2.1; {tasks}, 70000 iterations"]
    return aligned([header, *zip(*columns, strict=True)]) + _diverged(evaluation) + note


def _original(curve, length):
    """Returns a column of `length` rows; the original reports no query loss before adaptation."""
    support, *query = (f"{mean:.3f}{_interval(ci95, 3)}" for mean, ci95 in zip(*curve, strict=True))
    column = [support, "", *query, *[""] * length]
    return column[:length]


def _is_original(evaluation, experiment):
    """Whether the settings that matter are the paper's, as in the run of the authors' code."""
    names = ("baseline", "update_batch_size", "num_updates", "update_lr", "norm", "stop_grad", "queries")
    paper = Experiment.of(datasource=experiment.datasource)
    same = all(getattr(experiment, name) == getattr(paper, name) for name in names) and not described(experiment)
    return same and evaluation.step_size in (None, experiment.update_lr)


def _table_1_lines(evaluation, experiment, split, shots, conditions):
    """Returns our accuracy and those of the paper, the matching row of the paper first."""
    ways = conditions.ways or experiment.num_classes
    rows = published.published_rows(experiment.datasource, ways, shots)
    if not rows:
        return [f"The paper has no {ways}-way {shots}-shot results for {experiment.dataset.name}."]
    as_trained = shots == experiment.update_batch_size and not conditions.ways and conditions.head != ZERO
    match = experiment.published_row if as_trained else None
    update = min(experiment.reported_update, evaluation.num_updates)
    ours = _percent(evaluation.mean[update], evaluation.ci95[update])
    inductive = "" if evaluation.transductive else ", not transductive"
    table = [(f"ours, {split} split, {update} {_plural(update)}{inductive}", ours)]
    label = "" if split == "test" else ", test split"
    digits = experiment.dataset.digits  # as many as the table gives
    for row in sorted(rows, key=lambda row: row != match):
        table.append((f"{row.system}{label}", f"{row.percent:.{digits}f}{_interval(row.ci95, digits)}"))
    none = [] if match else ["The paper has no result of MAML for these settings."]
    return [f"{ways}-way {shots}-shot {experiment.datasource}, table 1 of the paper:", *aligned(table), *none]


def _columns(evaluation):
    """(header, columns) of the metric: support set before adaptation, then query set after 0, 1, ... updates."""
    show = _percent if evaluation.kind == "accuracy" else loss_text
    means, ci95s = [evaluation.support_mean, *evaluation.mean], [evaluation.support_ci95, *evaluation.ci95]
    header = ["updates", evaluation.kind]
    columns = [["0, support", *map(str, range(evaluation.num_updates + 1))], list(map(show, means, ci95s))]
    if evaluation.diverged.any():
        header += ["median", "diverged"]
        medians = [evaluation.support_median, *evaluation.median]
        columns += [list(map(_shown(evaluation), medians))]
        columns += [[str(count or "") for count in (evaluation.support_diverged, *evaluation.diverged)]]
    return header, columns


def _diverged(evaluation):
    """Lines on the tasks that have diverged, if there are any."""
    said = diverged_sentence(evaluation)
    if not said:
        return []
    rule = f"not finite, or above {TIMES_MEDIAN} times the median before any update"
    return ["", said, f"diverged: their loss is {rule}"]


def diverged_sentence(evaluation: Evaluation) -> str:
    """Says how many tasks have diverged, the mean of the others and the median of all; "" if none has diverged.

    The numbers are those of the last update with diverged tasks.
    """
    counts, show = evaluation.diverged, _shown(evaluation)
    if not counts.any():
        return ""
    update = int(np.flatnonzero(counts)[-1])
    after = f"after {update} {_plural(update)}" if update else "before any update"
    text = f"{counts[update]} of {evaluation.num_tasks} tasks diverged {after}"
    if counts[update] < evaluation.num_tasks:
        mean, ci95 = evaluation.without_diverged(update)
        text += f"; without them the mean is {show(mean)} +- {show(ci95)}"
    middle = evaluation.median[update]
    return text + (f"; the median of all is {show(middle)}" if np.isfinite(middle) else "")


def _shown(evaluation):
    percent = evaluation.kind == "accuracy"
    return (lambda value: f"{100 * value:.2f}") if percent else (lambda value: f"{value:#.4g}".removesuffix("."))


def _percent(mean, ci95):
    return f"{100 * mean:.2f}{_interval(100 * ci95, 2)}"


def loss_text(mean: float, ci95: float) -> str:
    """Formats a loss and its confidence interval, with enough digits for both large and small losses."""
    return " +- ".join(f"{value:#.{digits}g}".removesuffix(".") for value, digits in ((mean, 4), (ci95, 3)))


def _interval(ci95, digits):
    return "" if ci95 is None else f" +- {ci95:.{digits}f}"


def _plural(updates):
    return "update" if updates == 1 else "updates"
