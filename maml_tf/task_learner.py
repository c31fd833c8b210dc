"""What MAML computes for one task: adaptation on its support, and the objectives that the meta-update descends."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import checks
from maml_tf.adaptation import descend
from maml_tf.backend import tf
from maml_tf.inner_optimizers import SGD, InnerOptimizer
from maml_tf.pure_model import PureModel
from maml_tf.users_losses import may_read_weights

Metrics = dict[str, tf.Tensor]  # scalars by name
Measured = tuple[tf.Tensor, Metrics, list, list]  # objective, metrics, the model's state, the inner optimizer's slots


class Start(NamedTuple):
    """The tensors that adaptation to a task starts from.

    params: theta, list of the weights that the inner loop adapts.
    shared: list of the other trainable weights, which are meta-learned only.
    state: list of the model's statistics and seeds.
    step_size: alpha, as `adapt` takes it.
    learned: list of the tensors behind a meta-learned alpha.
    slots: what the inner optimizer carries from update to update.
    order: integers [updates, minibatch], the indices of the support examples that each update uses; None, all of them.
    """

    params: list
    shared: list
    state: list
    step_size: Any
    learned: list = []  # noqa: RUF012 - never changed
    slots: Any = ()
    order: tf.Tensor | None = None

    @property
    def trainable(self) -> list[tf.Tensor]:
        """The tensors that the meta-update changes."""
        return [*self.params, *self.shared, *self.learned]


class Inner(NamedTuple):
    """What a support loss carries from one update to the next.

    model_state: the model's state.
    update: index of the next update.
    outputs, loss: of the latest pass over the support; () if the number of updates is a tensor.
    shared: those of Start, so that `remat` need not find them in a closure.
    """

    model_state: list
    update: Any = 0
    outputs: Any = ()
    loss: Any = ()
    shared: Any = ()


class Adapted(NamedTuple):
    """The result of one task's adaptation: fast weights, and the state with the support's statistics under them."""

    params: list
    state: list


class TaskLearner(NamedTuple):
    """A model and its loss, as pure functions of a Start and of one task's tensors.

    model: PureModel.
    loss: function (outputs, targets) -> scalar.
    accuracy: function (outputs, targets) -> scalar, or None; or a tuple of pairs (name, function).
    first_order: whether gradients stop at the updates.
    optimizer: InnerOptimizer.
    minibatch: largest number of support examples that an update uses; None, all of them.
    outputs: pairs ("support" or "query", tf.TensorSpec) of the outputs that an evaluation returns among its metrics.
    """

    model: PureModel
    loss: Callable
    accuracy: Callable | tuple | None = None
    first_order: bool = False
    optimizer: InnerOptimizer = SGD
    minibatch: int | None = None
    outputs: tuple = ()

    def adapt(
        self,
        start: Start,
        x: Any,
        y: Any,
        num_updates: int | tf.Tensor,
        first_update: Any = 0,
        remat: bool = False,
    ) -> tuple[Start, Inner]:
        """Adapts to a support set: theta' = theta - alpha * grad L_support(theta), num_updates times.

        Args:
            start: Start, whose params adapt.
            x, y: [support, ...] inputs and targets.
            num_updates, first_update, remat: as for `adaptation.adapt`.

        Returns:
            (start with params theta', new slots and state, Inner of the last support pass); where num_updates is a
            tensor, Inner has no outputs and no loss.
        """
        unrolled = isinstance(num_updates, int)

        def support_loss(params, inner):
            state = self.model.at_update(inner.model_state, inner.update)
            support_x, support_y = _chosen((x, y), start.order, inner.update)
            outputs, state, _ = self.model(params, inner.shared, state, support_x)
            loss = self._loss(outputs, support_y, params, inner.shared, state)
            seen = (outputs, loss) if unrolled else ((), ())
            return loss, Inner(state, inner.update + 1, *seen, inner.shared)

        first = first_update if unrolled else tf.zeros_like(num_updates) + first_update
        inner = Inner(start.state, first, shared=start.shared)
        settings = {"num_updates": num_updates, "first_update": first_update, "first_order": self.first_order}
        settings |= {"step_size": start.step_size, "optimizer": self.optimizer, "remat": remat}
        params, slots, inner = descend(support_loss, start.params, start.slots, inner, **settings)
        return start._replace(params=params, slots=slots, state=inner.model_state), inner

    def adapted(self, start: Start, x: Any, y: Any, num_updates: tf.Tensor) -> Adapted:
        """Returns the result of adaptation to a support set; arguments as for `adapt`."""
        start = start._replace(order=self.order_of_one(x, num_updates))
        start, _ = self.adapt(start, x, y, num_updates)
        return Adapted(start.params, self.model.after_adaptation(start.params, start.shared, start.state, x))

    def meta_objective(
        self, start: Start, task: Tasks, num_updates: int, query_weights: Any = None, remat: bool = False
    ) -> Measured:
        """The query loss after adaptation, L_query(theta'), plus the losses that layers add.

        Args:
            start: Start.
            task: Tasks of one task's tensors, without the task axis.
            num_updates: inner updates, at least 1.
            query_weights: weights [num_updates] w; the objective is then the sum of w_i * L_query(theta_i), where
                theta_i are the weights after update i (the multi-step loss of MAML++, Antoniou et al. 2019).
            remat: as for `adaptation.adapt`.

        Returns:
            (objective, dict of metrics before and after adaptation, the model's state after the support, empty list).
        """
        terms = []
        for i in range(num_updates):
            start, inner = self.adapt(start, task.support_x, task.support_y, 1, i, remat)
            if i == 0:
                before = self._metrics_of_support(inner, task, start.order)
            if query_weights is not None or i == num_updates - 1:
                values = start.params, start.shared, start.state
                outputs, _, penalty = self.model(*values, task.query_x)
                loss = self._loss(outputs, task.query_y, *values)
                terms.append(loss + penalty if query_weights is None else query_weights[i] * (loss + penalty))
        objective = terms[0] if query_weights is None else tf.add_n(terms)
        return objective, before | self.metrics("post", loss, outputs, task.query_y), start.state, []

    def reptile_objective(self, start: Start, task: Tasks, num_updates: int) -> Measured:
        """A scalar whose gradient in theta is Reptile's, theta - theta' (Nichol, Achiam and Schulman 2018).

        Nothing is differentiated through the updates. Arguments and result are those of `meta_objective`, but the
        result ends with the inner optimizer's slots; the query is used for the metrics only.
        """
        theta = start.params
        start = start._replace(params=[tf.stop_gradient(p) for p in theta])
        for i in range(num_updates):
            start, inner = self.adapt(start, task.support_x, task.support_y, 1, i)
            if i == 0:
                before = self._metrics_of_support(inner, task, start.order)
        steps = [tf.stop_gradient(p - adapted) for p, adapted in zip(theta, start.params, strict=True)]
        objective = tf.add_n([tf.reduce_sum(p * step) for p, step in zip(theta, steps, strict=True)])
        values = start.params, start.shared, start.state
        outputs, _, _ = self.model(*values, task.query_x)
        after = self.metrics("post", self._loss(outputs, task.query_y, *values), outputs, task.query_y)
        return objective, before | after, start.state, tf.nest.flatten(start.slots)

    def pretrain_objective(self, start: Start, task: Tasks) -> Measured:
        """The support loss without adaptation, L_support(theta); arguments and result as for `meta_objective`."""
        outputs, state, penalty = self.model(start.params, start.shared, start.state, task.support_x)
        loss = self._loss(outputs, task.support_y, start.params, start.shared, state)
        return loss + penalty, self.metrics("pre", loss, outputs, task.support_y), state, []

    def evaluate(self, start: Start, x: Any, y: Any, name: str, training: bool = True) -> tuple[Metrics, list]:
        """Measures the model on x and y, [examples, ...].

        Args:
            start: Start.
            x, y: inputs and targets.
            name: prefix of the metrics' names.
            training: whether to normalise x by its own batch statistics; otherwise by those in `start.state`.

        Returns:
            (dict of metrics, the state with the statistics of x).
        """
        outputs, state, _ = self.model(start.params, start.shared, start.state, x, training=training)
        return self.measure(name, outputs, y, start.params, start.shared, state), state

    def evaluate_start(self, start: Start, task: Tasks, transductive: bool) -> Metrics:
        """The metrics of support and query before any update."""
        support, observed = self.evaluate(start, task.support_x, task.support_y, "support")
        on_query = start if transductive else start._replace(state=observed)
        return support | self.evaluate(on_query, task.query_x, task.query_y, "query", transductive)[0]

    def evaluate_update(self, start: Start, task: Tasks, i: Any, transductive: bool) -> tuple[Start, Metrics]:
        """Makes update i; returns (the Start that it leaves, metrics of the query after it)."""
        start, _ = self.adapt(start, task.support_x, task.support_y, 1, i)
        settled = start.state
        if not transductive:
            settled = self.model.after_adaptation(start.params, start.shared, start.state, task.support_x)
        on_query = start._replace(state=settled)
        return start, self.evaluate(on_query, task.query_x, task.query_y, "query", transductive)[0]

    def order_of_one(self, x: Any, num_updates: Any, axis: int = 0) -> tf.Tensor | None:
        """The `order` of a task outside training, which is always the same; axis: axis of the examples in x."""
        order = self.order(1, checks.size(tf.nest.flatten(x)[0], axis), num_updates, tf.constant([0, 0]))
        return None if order is None else order[0]

    def order(self, num_tasks: Any, examples: Any, num_updates: Any, seed: tf.Tensor) -> tf.Tensor | None:
        """The examples that each update uses, in random order; every support example comes once before any repeats.

        Args:
            num_tasks, examples: numbers of tasks, each with its own order, and of support examples; integers or scalar
                tensors.
            num_updates: inner updates.
            seed: [2] integers.

        Returns:
            Indices [tasks, updates, minibatch] of int32; None where each update uses all examples.
        """
        if self.minibatch is None:
            return None
        size = min(self.minibatch, examples) if isinstance(examples, int) else tf.minimum(self.minibatch, examples)
        epochs = -(-num_updates * size // examples)
        shape = [num_tasks, epochs, examples]
        # Integers, since XLA would draw other random floats than TensorFlow.
        order = tf.argsort(tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox"))
        order = tf.reshape(order, [num_tasks, -1])[:, : num_updates * size]
        return tf.reshape(order, [num_tasks, num_updates, size])

    def _metrics_of_support(self, inner, task, order):
        """The metrics before adaptation, from the support pass of the first update."""
        return self.metrics("pre", inner.loss, inner.outputs, _chosen(task.support_y, order, 0))

    def measure(self, name: str, outputs: Any, targets: Any, *values: list) -> Metrics:
        """The loss and the metrics of outputs, by names that begin with `name`; values: see `_loss`."""
        metrics = self.metrics(name, self._loss(outputs, targets, *values), outputs, targets)
        return metrics | ({f"{name}_outputs": outputs} if self.outputs else {})

    def metrics(self, name: str, loss: tf.Tensor, outputs: Any, targets: Any) -> Metrics:
        """The metrics of outputs, scalars whose names begin with `name`."""
        metrics = {f"{name}_loss": loss}
        for kind, function in self.named:
            metrics[f"{name}_{kind}"] = tf.cast(function(outputs, targets), self.model.dtype)
        return metrics

    @property
    def named(self) -> tuple:
        """The metrics that are reported beside the loss, pairs (name, function)."""
        return (("accuracy", self.accuracy),) if callable(self.accuracy) else self.accuracy or ()

    def metric_names(self, *moments: str) -> list[str]:
        """The metrics' names at some moments, such as "pre" and "post" adaptation."""
        kinds = "loss", *(kind for kind, _ in self.named)
        return [f"{moment}_{kind}" for moment in moments for kind in kinds]

    def metric_specs(self, *moments: str) -> dict[str, tf.TensorSpec]:
        """The tf.TensorSpec of the metrics at some moments."""
        scalars = {name: tf.TensorSpec([], self.model.dtype) for name in self.metric_names(*moments)}
        return scalars | {f"{moment}_outputs": spec for moment, spec in self.outputs if moment in moments}

    def _loss(self, outputs, targets, *values):
        """The loss; if it reads the model's weights or calls the model, these are values, as of `PureModel.scope`."""
        reads = values and may_read_weights(self.loss)
        with self.model.scope(*values, through=True) if reads else contextlib.nullcontext():
            loss = tf.convert_to_tensor(self.loss(outputs, targets))
        if loss.shape.rank not in (0, None):
            raise UserError(f"the loss of a task must be a scalar, but its shape is {loss.shape}: take its mean")
        return tf.cast(loss, self.model.dtype)


def _chosen(examples, order, update):
    """The examples of a structure of tensors [support, ...] that an update uses."""
    return examples if order is None else tf.nest.map_structure(lambda t: tf.gather(t, order[update]), examples)
