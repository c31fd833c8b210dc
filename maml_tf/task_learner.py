"""What MAML computes for one task: adaptation on its support, and the objectives that the meta-update descends."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.adaptation import adapt
from maml_tf.pure_model import PureModel


class Inner(NamedTuple):
    """State that the inner loop carries: the model's state, and outputs and loss of the latest support pass."""

    model_state: list
    outputs: tf.Tensor | None = None
    loss: tf.Tensor | None = None


class TaskLearner(NamedTuple):
    """A model and its loss, as pure functions of `params` (adapted), `shared` and `state`, lists of tensors.

    model: PureModel.
    loss: function (outputs, targets) -> scalar.
    accuracy: function (outputs, targets) -> scalar, or None.
    first_order: whether gradients stop at the updates.
    """

    model: PureModel
    loss: Callable
    accuracy: Callable | None
    first_order: bool

    @property
    def figure_kinds(self):
        """The names of the figures that are reported."""
        return ("loss", "accuracy") if self.accuracy else ("loss",)

    def figure_names(self, *moments):
        """The figures' names at some moments, such as "pre" and "post" adaptation."""
        return [f"{moment}_{kind}" for moment in moments for kind in self.figure_kinds]

    def adapt(self, params, shared, inner, x, y, num_updates, step_size):
        """Adapts params to a support set. Returns (params, Inner)."""

        def support_loss(params, inner):
            outputs, model_state, _ = self.model(params, shared, inner.model_state, x)
            loss = self._loss(outputs, y)
            return loss, Inner(model_state, outputs, loss)

        return adapt(
            support_loss, params, inner, step_size=step_size, num_updates=num_updates, first_order=self.first_order
        )

    def fast_weights(self, params, shared, state, x, y, num_updates, step_size):
        """As `adapt`, without the figures on the way, so that the number of updates may be a tensor.

        Returns:
            (params, state with the support's statistics under them).
        """

        def support_loss(params, state):
            outputs, state, _ = self.model(params, shared, state, x)
            return self._loss(outputs, y), state

        params, state = adapt(support_loss, params, state, step_size=step_size, num_updates=num_updates)
        return params, self.model.after_adaptation(params, shared, state, x)

    def meta_objective(self, params, shared, state, step_size, task, num_updates):
        """The query loss after adaptation (equation 1 of the paper), with the losses that layers add.

        Returns:
            (objective, figures before and after adaptation, the model's state after the support).
        """
        x, y = task.support_x, task.support_y
        # The first update by itself, because its support pass also gives the figures before adaptation.
        params, first = self.adapt(params, shared, Inner(state), x, y, 1, step_size)
        params, last = self.adapt(params, shared, first, x, y, num_updates - 1, step_size)
        outputs, _, penalty = self.model(params, shared, last.model_state, task.query_x)
        loss = self._loss(outputs, task.query_y)
        before = self._figures("pre", first.loss, first.outputs, y)
        return loss + penalty, before | self._figures("post", loss, outputs, task.query_y), last.model_state

    def pretrain_objective(self, params, shared, state, task):
        """The support loss without adaptation; returns as `meta_objective`."""
        outputs, state, penalty = self.model(params, shared, state, task.support_x)
        loss = self._loss(outputs, task.support_y)
        return loss + penalty, self._figures("pre", loss, outputs, task.support_y), state

    def judge(self, params, shared, state, x, y, name, transductive=True):
        """The figures on x and y, their names beginning with `name`.

        transductive: normalise x by its own batch statistics, otherwise by those in `state`.
        """
        outputs, _, _ = self.model(params, shared, state, x, training=transductive)
        return self._figures(name, self._loss(outputs, y), outputs, y)

    def observe(self, params, shared, state, x, y, name):
        """What `judge` says of x and y, and the state with their statistics."""
        outputs, state, _ = self.model(params, shared, state, x)
        return self._figures(name, self._loss(outputs, y), outputs, y), state

    def _loss(self, outputs, targets):
        loss = tf.convert_to_tensor(self.loss(outputs, targets))
        if loss.shape.rank not in (0, None):
            raise UserError(f"the loss of a task must be a scalar, but its shape is {loss.shape}: take its mean")
        return tf.cast(loss, self.model.dtype)

    def _figures(self, name, loss, outputs, targets):
        figures = {f"{name}_loss": loss}
        if self.accuracy:
            figures[f"{name}_accuracy"] = tf.cast(self.accuracy(outputs, targets), self.model.dtype)
        return figures
