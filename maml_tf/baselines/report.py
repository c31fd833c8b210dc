"""Formats the baselines' results as text and as rows of a csv, with the published results."""

from maml_tf.baselines.comparison import FINE_TUNING, NEAREST_NEIGHBOR, TEST, Outcome
from maml_tf.runs.published import published_rows
from maml_tf.runs.style import aligned
from maml_tf.supervised.report import diverged_sentence

_NAMES = {NEAREST_NEIGHBOR: "Nearest neighbor baseline", FINE_TUNING: "Fine-tuning baseline"}


def report(outcomes: list[Outcome], datasource: str, ways: int, shots: int, training: str) -> str:
    """Returns a table of our results and the published ones, after lines on how ours were obtained.

    Args:
        outcomes: outcomes of `Comparison.run`.
        datasource, ways, shots: the column of table 1.
        training: a line on the classifier's training.

    Returns:
        Lines without a line break after the last.
    """
    num_tasks = outcomes[0].evaluation.num_tasks
    lines = [
        f"{ways}-way {shots}-shot {datasource}: accuracy in % on {num_tasks} tasks, +- 95 % confidence interval",
        training,
        "transductive: queries are normalised by their own batch statistics",
        *_choices(outcomes),
        "",
    ]
    rows = [(f"{_NAMES[o.baseline]}, ours, {_split(o)}", _percent(o.evaluation)) for o in outcomes]
    published = published_rows(datasource, ways, shots)
    rows += [(f"{row.system}, published, test split", _published(row)) for row in published]
    none = [] if published else [f"The paper has no {ways}-way {shots}-shot results for {datasource}."]
    return "\n".join([*lines, *aligned(rows), *_diverged(outcomes), *none])


def csv_rows(outcomes: list[Outcome], datasource: str, ways: int, shots: int, iterations: int) -> list[dict]:
    """Returns a dict for each outcome: accuracies in percent, None for a missing setting or published number."""
    return [_csv_row(outcome, datasource, ways, shots, iterations) for outcome in outcomes]


def _csv_row(outcome, datasource, ways, shots, iterations):
    published = _row(outcome.baseline, datasource, ways, shots)
    choice, found = outcome.choice, outcome.evaluation
    return {
        "baseline": _NAMES[outcome.baseline],
        "split": outcome.split,
        "classes": outcome.num_classes,
        "tasks": found.num_tasks,
        "accuracy": 100 * float(found.mean[-1]),
        "ci95": 100 * float(found.ci95[-1]),
        "step_size": choice and choice.step_sizes.initial,
        "decay": choice and choice.step_sizes.decay,
        "updates": choice and choice.num_updates,
        "published": published and published.percent,
        "published_ci95": published and published.ci95,
        "classifier_iterations": iterations,
        "median": 100 * float(found.median[-1]),
        "diverged": int(found.diverged[-1]),
    }


def _diverged(outcomes):
    said = {f"{_NAMES[o.baseline]}, {_split(o)}": diverged_sentence(o.evaluation) for o in outcomes}
    return [f"{which}: {sentence}" for which, sentence in said.items() if sentence]


def _choices(outcomes):
    choice = next((o.choice for o in outcomes if o.choice), None)
    if choice is None:
        return []
    initial, decay = choice.step_sizes
    return [
        f"fine-tuning: step size {initial}, decay {decay}, updates {choice.num_updates}; chosen on the first half "
        f"of the validation classes ({100 * choice.accuracy:.2f} there)"
    ]


def _split(outcome):
    name = "test split" if outcome.split == TEST else "second half of val"
    return f"{name} ({outcome.num_classes} classes)"


def _percent(found):
    return f"{100 * found.mean[-1]:.2f} +- {100 * found.ci95[-1]:.2f}"


def _published(row):
    return f"{row.percent:.2f}" + ("" if row.ci95 is None else f" +- {row.ci95:.2f}")


def _row(baseline, datasource, ways, shots):
    return next((row for row in published_rows(datasource, ways, shots) if row.key == baseline), None)
