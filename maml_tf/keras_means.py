"""The metrics that a keras.Model reports: their names, and their means over tasks."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from data_generators.errors import UserError
from maml_tf.backend import keras, tf
from maml_tf.logits import name_of
from maml_tf.users_losses import in_keras_order


def by_names(metrics: Iterable | Mapping | Callable | str | None) -> dict[str, Any]:
    """Returns metrics by the names under which Keras reports them.

    Args:
        metrics: one metric or several, each a metric of Keras, its name or a function; or a dict of them by name.

    Raises:
        UserError: two metrics have the same name, or one is called "loss".
    """
    if isinstance(metrics, Mapping):
        found = list(metrics.items())
    else:
        some = [] if metrics is None else [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
        found = [(_name(metric), metric) for metric in some]
    names = [name for name, _ in found]
    if twice := {name for name in names if [*names, "loss"].count(name) > 1}:
        raise UserError(f"two metrics are called {min(twice)!r}: give each a name of its own")
    return dict(found)


def _name(metric):
    metric = metric.args[0] if getattr(metric, "func", None) is in_keras_order else metric
    return metric if isinstance(metric, str) else str(getattr(metric, "name", None) or name_of(metric))


class Means:
    """Means by name, kept outside the model, since Keras would save them with the model's weights.

    Attributes:
        by_name: dict of keras.metrics.Mean.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, keras.metrics.Mean] = {}

    def make(self, names: Iterable[str]) -> None:
        """Makes the means that do not exist yet, which cannot be done in a graph."""
        self.by_name |= {name: keras.metrics.Mean(name) for name in names if name not in self.by_name}

    @tf.function(autograph=False, reduce_retracing=True)
    def update(self, values: dict[str, tf.Tensor], weight: Any = None) -> dict[str, tf.Tensor]:
        """Adds values, scalars or [tasks]; returns the means so far."""
        for name, value in values.items():
            self.by_name[name].update_state(value, weight)
        return {name: self.by_name[name].result() for name in values}
