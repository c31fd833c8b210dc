"""Results of the paper and of its authors' code, for comparison; published.json holds them and their sources."""

import functools
import json
from importlib import resources
from typing import NamedTuple

_SYSTEMS = {
    "mann_no_conv": "MANN, no conv",
    "maml_no_conv": "MAML, no conv",
    "siamese_nets": "Siamese nets",
    "matching_nets": "Matching nets",
    "neural_statistician": "Neural statistician",
    "memory_mod": "Memory mod.",
    "fine_tuning_baseline": "Fine-tuning baseline",
    "nearest_neighbor_baseline": "Nearest neighbor baseline",
    "meta_learner_lstm": "Meta-learner LSTM",
    "maml_first_order": "MAML, first order approx.",
    "maml": "MAML",
}


class Row(NamedTuple):
    """One system's accuracy in one column of table 1.

    system: its name in the table.
    percent: accuracy on test classes.
    ci95: half width of the 95 % confidence interval in percentage points, or None where the table has none.
    key: key of the system in published.json.
    """

    system: str
    percent: float
    ci95: float | None
    key: str


class LearningCurve(NamedTuple):
    """Mean returns of the trajectories of every iteration, before and after the inner update."""

    before: tuple[float, ...]
    after: tuple[float, ...]


class Curve(NamedTuple):
    """A metric after 0, 1, ... updates.

    mean: mean of the metric over test tasks.
    ci95: half width of its 95 % confidence interval; None where it is not known.
    """

    mean: tuple[float, ...]
    ci95: tuple[float | None, ...]


def published_rows(datasource: str, ways: int, shots: int) -> list[Row]:
    """One column of table 1 of the paper (Finn et al. 2017), in the table's order.

    Args:
        datasource: "omniglot" or "miniimagenet"; any other has no rows.
        ways: classes per task.
        shots: support images per class.

    Returns:
        The systems that have a number in that column; an empty list if the table has no such column.
    """
    setting = f"{ways}way_{shots}shot"
    systems = _numbers()["table_1"].get(datasource, {})
    numbers = {key: columns[setting] for key, columns in systems.items() if setting in columns}
    return [Row(_SYSTEMS[key], percent, ci95, key) for key, (percent, ci95) in numbers.items()]


def published_variants() -> dict[str, dict[str, float]]:
    """Accuracies of variants of MAML on Omniglot in percent: preset -> "5way_1shot", ... -> accuracy."""
    return _numbers()["variants"]


def published_returns(environment: str) -> dict[str, Curve]:
    """Average returns behind the paper's reinforcement learning figures.

    Args:
        environment: "2d_navigation", "half_cheetah_goal_velocity", "half_cheetah_goal_direction",
            "ant_goal_velocity" or "ant_goal_direction".

    Returns:
        A Curve over gradient steps, from 40 test goals, for each of "maml", "pretrained", "random" and "oracle" (which
        has one value, because it does not adapt).

    Raises:
        KeyError: there is no such environment.
    """
    return {agent: _curve(numbers) for agent, numbers in _numbers()["average_return"][environment].items()}


def original_sinusoid() -> dict[str, Curve]:
    """Mean squared errors of the authors' code on its 600 sinusoid test tasks, K = 10 and step size 0.01.

    The paper shows these as a figure only; they were measured by running the authors' code under TensorFlow 1.2.1 for
    70,000 iterations.

    Returns:
        A Curve for "maml" and "pretrained" (10 updates each) and for "oracle" (before any update). The value before
        any update is on the support set, the others are on the query set.
    """
    return {learner: _curve(numbers) for learner, numbers in _numbers()["sinusoid"].items()}


def original_learning_curve(environment: str) -> LearningCurve | None:
    """Returns during the training of MAML by the authors' code; None if there are none for the environment."""
    returns = _numbers()["learning_curve"].get(environment)
    return None if returns is None else LearningCurve(tuple(returns["before"]), tuple(returns["after"]))


def _curve(numbers):
    return Curve(tuple(numbers["mean"]), tuple(numbers["ci95"]))


@functools.cache
def _numbers():
    return json.loads(resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
