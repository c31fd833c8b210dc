"""An ensemble of trained models: each adapts to a task by itself, and their outputs are averaged.

The code of MAML++ (Antoniou, Edwards and Storkey 2019) tests the models that are best on validation in this way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import step_sizes
from maml_tf.backend import keras
from maml_tf.curves import curve_of
from maml_tf.maml import MAML, Curves
from maml_tf.task_axis import map_tasks


class Ensemble:
    """A Learner (see `evaluation.evaluate`) whose loss and accuracy are those of the members' mean outputs.

        f(x) = 1/N sum_n f(x; theta'_n),    theta'_n = theta_n adapted to the support by itself

    Args:
        maml: MAML of a model with one output, [examples, outputs]; an evaluation leaves the last member's values in it.
        members: for each member, the values of `variables(maml)`.
    """

    def __init__(self, maml: MAML, members: Sequence[Sequence[np.ndarray]]):
        self._maml, self._members = maml, members
        self._measure = maml.compiler(self._measured)

    def evaluate(
        self, tasks: Tasks, num_updates: int, step_size: Any = None, transductive: bool = True
    ) -> dict[str, np.ndarray]:
        """Evaluates tasks; see `MAML.evaluate`."""
        curves = [self._of_member(member, tasks, num_updates, step_size, transductive) for member in self._members]
        support, query = (np.mean([c[name] for c in curves], axis=0) for name in ("support_outputs", "outputs"))
        before = self._measure(support, self._maml.pure.targets(tasks.support_y))
        y = self._maml.pure.targets(tasks.query_y)
        after = [self._measure(query[:, update], y) for update in range(num_updates + 1)]
        found = {f"support_{kind}": value.numpy() for kind, value in before.items()}
        return found | {curve_of(kind): np.stack([metrics[kind] for metrics in after], axis=1) for kind in before}

    def _of_member(self, member, tasks, num_updates, step_size, transductive) -> Curves:
        maml = self._maml
        for variable, value in zip(variables(maml), member, strict=True):
            variable.assign(value)
        shape, dtype = maml.model.output_shape[1:], maml.dtype
        sizes = {"support": np.shape(tasks.support_x)[1], "query": np.shape(tasks.query_x)[1]}
        specs = tuple((name, tf.TensorSpec([size, *shape], dtype)) for name, size in sizes.items())
        curves = maml.curves(
            tasks,
            step_sizes.given(step_size, num_updates, dtype),
            num_updates=num_updates,
            transductive=transductive,
            learner=maml.learner._replace(outputs=specs),
        )
        return {name: value.numpy() for name, value in curves.items()}

    def _measured(self, outputs, targets):
        """The metrics of outputs [tasks, examples, outputs], by kind."""
        learner = self._maml.learner
        measured = map_tasks(
            lambda task: learner.measure("of", *task),
            (outputs, targets),
            learner.metric_specs("of"),
            self._maml.task_axis,
        )
        return {name.removeprefix("of_"): value for name, value in measured.items()}


def variables(maml: MAML) -> list[keras.Variable]:
    """The variables whose values may differ between members of an ensemble: all that an evaluation depends on."""
    iterations = maml.optimizer.iterations, maml.pretrain_optimizer.iterations
    return [*maml.model.variables, *maml.step_sizes, *maml.slots, *iterations]
