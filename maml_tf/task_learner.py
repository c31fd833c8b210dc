"""What MAML computes for one task: adaptation on its support, and the objectives that the meta-update descends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf.adaptation import adapt
from maml_tf.pure_model import PureModel

Metrics = dict[str, tf.Tensor]  # scalars by name
Measured = tuple[tf.Tensor, Metrics, list]  # an objective, metrics, the model's state


class Start(NamedTuple):
    """What a task starts from, lists of tensors.

    params: theta, what the inner loop adapts.
    shared: the other trainable weights, which are meta-learned only.
    state: statistics and seeds of the model.
    step_size: alpha, as `adapt` takes it.
    learned: the tensors behind a meta-learned alpha.
    """

    params: list
    shared: list
    state: list
    step_size: Any
    learned: list = []  # noqa: RUF012 - never changed

    @property
    def trainable(self) -> list[tf.Tensor]:
        """What the meta-update changes."""
        return [*self.params, *self.shared, *self.learned]


class Inner(NamedTuple):
    """State that the inner loop carries: the model's state; outputs and loss of the latest support pass, if any."""

    model_state: list
    outputs: Any = ()
    loss: Any = ()


class Adapted(NamedTuple):
    """What one task's adaptation leaves: fast weights, and the state with the support's statistics under them."""

    params: list
    state: list


class TaskLearner(NamedTuple):
    """A model and its loss, as pure functions of a Start and of one task's tensors.

    model: PureModel.
    loss: function (outputs, targets) -> scalar.
    accuracy: function (outputs, targets) -> scalar, or None.
    first_order: whether gradients stop at the updates.
    outputs: where the outputs of an evaluation count among its metrics, pairs ("support" or "query", tf.TensorSpec).
    """

    model: PureModel
    loss: Callable
    accuracy: Callable | None = None
    first_order: bool = False
    outputs: tuple = ()

    def adapt(
        self, start: Start, inner: Inner, x: Any, y: Any, num_updates: int | tf.Tensor, first_update: Any = 0
    ) -> tuple[Start, Inner]:
        """Adapts to a support set: theta' = theta - alpha * grad L_support(theta), num_updates times.

        Args:
            start: Start, whose params adapt.
            inner: Inner, which holds the model's state to start from.
            x, y: [support, ...] inputs and targets.
            num_updates, first_update: as for `adaptation.adapt`.

        Returns:
            (start with params theta', Inner of the last support pass); where num_updates is a tensor, Inner holds the
            model's state alone.
        """

        def support_loss(params, inner):
            outputs, state, _ = self.model(params, start.shared, inner.model_state, x)
            loss = self._loss(outputs, y)
            return loss, Inner(state, outputs, loss) if isinstance(num_updates, int) else Inner(state)

        settings = {"num_updates": num_updates, "first_update": first_update, "first_order": self.first_order}
        params, inner = adapt(support_loss, start.params, inner, step_size=start.step_size, **settings)
        return start._replace(params=params), inner

    def adapted(self, start: Start, x: Any, y: Any, num_updates: tf.Tensor) -> Adapted:
        """What adaptation to a support set leaves; arguments as of `adapt`."""
        start, inner = self.adapt(start, Inner(start.state), x, y, num_updates)
        state = self.model.after_adaptation(start.params, start.shared, inner.model_state, x)
        return Adapted(start.params, state)

    def meta_objective(self, start: Start, task: Tasks, num_updates: int, query_weights: Any = None) -> Measured:
        """The query loss after adaptation, L_query(theta'), with the losses that layers add.

        Args:
            start: Start.
            task: Tasks of one task's tensors, without the task axis.
            num_updates: inner updates, at least 1.
            query_weights: [num_updates] w; then the objective is the sum of w_i * L_query(theta_i) over the weights
                theta_i after each update (the multi-step loss of MAML++, Antoniou et al. 2019).

        Returns:
            (objective, dict of metrics before and after adaptation, the model's state after the support).
        """
        inner, terms = Inner(start.state), []
        for i in range(num_updates):
            start, inner = self.adapt(start, inner, task.support_x, task.support_y, 1, i)
            if i == 0:
                before = self.metrics("pre", inner.loss, inner.outputs, task.support_y)
            if query_weights is not None or i == num_updates - 1:
                outputs, _, penalty = self.model(start.params, start.shared, inner.model_state, task.query_x)
                loss = self._loss(outputs, task.query_y)
                terms.append(loss + penalty if query_weights is None else query_weights[i] * (loss + penalty))
        objective = terms[0] if query_weights is None else tf.add_n(terms)
        return objective, before | self.metrics("post", loss, outputs, task.query_y), inner.model_state

    def pretrain_objective(self, start: Start, task: Tasks) -> Measured:
        """The support loss without adaptation, L_support(theta); arguments and result as of `meta_objective`."""
        outputs, state, penalty = self.model(start.params, start.shared, start.state, task.support_x)
        loss = self._loss(outputs, task.support_y)
        return loss + penalty, self.metrics("pre", loss, outputs, task.support_y), state

    def evaluate(self, start: Start, x: Any, y: Any, name: str, training: bool = True) -> tuple[Metrics, list]:
        """Measures on x and y, [examples, ...].

        Args:
            start: Start.
            x, y: inputs and targets.
            name: that the metrics' names begin with.
            training: normalise x by its own batch statistics, otherwise by those in `start.state`.

        Returns:
            (dict of metrics, the state with the statistics of x).
        """
        outputs, state, _ = self.model(start.params, start.shared, start.state, x, training=training)
        return self.measure(name, outputs, y), state

    def evaluate_start(self, start: Start, task: Tasks, transductive: bool) -> Metrics:
        """The metrics of support and query before any update."""
        support, observed = self.evaluate(start, task.support_x, task.support_y, "support")
        on_query = start if transductive else start._replace(state=observed)
        return support | self.evaluate(on_query, task.query_x, task.query_y, "query", transductive)[0]

    def evaluate_update(self, start: Start, task: Tasks, i: Any, transductive: bool) -> tuple[list, list, Metrics]:
        """Makes update i; returns (params, state, metrics of the query after it)."""
        start, inner = self.adapt(start, Inner(start.state), task.support_x, task.support_y, 1, i)
        state = settled = inner.model_state
        if not transductive:
            settled = self.model.after_adaptation(start.params, start.shared, state, task.support_x)
        on_query = start._replace(state=settled)
        return start.params, state, self.evaluate(on_query, task.query_x, task.query_y, "query", transductive)[0]

    def measure(self, name: str, outputs: Any, targets: Any) -> Metrics:
        """The loss and the metrics of outputs, by names that begin with `name`."""
        metrics = self.metrics(name, self._loss(outputs, targets), outputs, targets)
        return metrics | ({f"{name}_outputs": outputs} if self.outputs else {})

    def metrics(self, name: str, loss: tf.Tensor, outputs: Any, targets: Any) -> Metrics:
        """The metrics of outputs, scalars whose names begin with `name`."""
        metrics = {f"{name}_loss": loss}
        if self.accuracy:
            metrics[f"{name}_accuracy"] = tf.cast(self.accuracy(outputs, targets), self.model.dtype)
        return metrics

    def metric_names(self, *moments: str) -> list[str]:
        """The metrics' names at some moments, such as "pre" and "post" adaptation."""
        kinds = ("loss", "accuracy") if self.accuracy else ("loss",)
        return [f"{moment}_{kind}" for moment in moments for kind in kinds]

    def metric_specs(self, *moments: str) -> dict[str, tf.TensorSpec]:
        """The tf.TensorSpec of the metrics at some moments."""
        scalars = {name: tf.TensorSpec([], self.model.dtype) for name in self.metric_names(*moments)}
        return scalars | {f"{moment}_outputs": spec for moment, spec in self.outputs if moment in moments}

    def _loss(self, outputs, targets):
        loss = tf.convert_to_tensor(self.loss(outputs, targets))
        if loss.shape.rank not in (0, None):
            raise UserError(f"the loss of a task must be a scalar, but its shape is {loss.shape}: take its mean")
        return tf.cast(loss, self.model.dtype)
