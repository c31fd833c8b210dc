"""MAML: meta-gradients through the inner loop, the meta-training step, the pretraining step and evaluation.

Finn, Abbeel and Levine (2017), algorithms 1 and 2; `maml.py` of cbfinn/maml.
"""

from contextlib import nullcontext
from typing import NamedTuple

import keras
import tensorflow as tf

from maml_tf import layers
from maml_tf import task_axis as axis
from maml_tf.adaptation import adapt
from maml_tf.pure_model import PureModel


class Adapted(NamedTuple):
    """What one task's adaptation leaves: fast weights, and the state with the support's statistics."""

    params: list
    state: list


class _Inner(NamedTuple):
    """State that the inner loop carries: the model's state, and outputs and loss of the latest support pass."""

    model_state: list
    outputs: tf.Tensor | None = None
    loss: tf.Tensor | None = None


class MAML:
    """Model-agnostic meta-learning of a Keras model's initial weights.

    Args:
        model: a built keras.Model.
        loss: function (outputs, targets) -> scalar.
        step_size: of the inner loop (alpha).
        num_updates: inner updates in meta-training.
        first_order: ignore second derivatives (`stop_grad` of the original).
        learn_step_size: meta-learn one step size per adapted variable, starting at `step_size`.
        accuracy: optional function (outputs, targets) -> scalar that is reported beside the loss.
        optimizer, pretrain_optimizer: of the meta-update and of pretraining; default Adam with rate 1e-3 and the
            original's epsilon 1e-8.
        adapts: predicate on a variable, whether the inner loop adapts it; default, see
            `pure_model.adapts_by_default`. The others are meta-learned only.
        task_axis: "auto", "map" or "vectorize"; see `task_axis.resolve`.
        jit: "auto", or whether to compile by XLA.
    """

    def __init__(
        self,
        model,
        loss,
        *,
        step_size=0.01,
        num_updates=1,
        first_order=False,
        learn_step_size=False,
        accuracy=None,
        optimizer=None,
        pretrain_optimizer=None,
        adapts=None,
        task_axis="auto",
        jit="auto",
    ):
        self.model = model
        self.loss = loss
        self.accuracy = accuracy
        self.num_updates = num_updates
        self.first_order = first_order
        self.pure = PureModel(model, adapts)
        if not first_order:
            self.pure.warn_of_wrong_second_derivatives()
        self.step_size = step_size
        self.step_sizes = []
        if learn_step_size:
            self.step_sizes = [keras.Variable(step_size, dtype=v.dtype, name="step_size") for v in self.pure.adapted]
        self.optimizer = optimizer or adam()
        self.pretrain_optimizer = pretrain_optimizer or adam()
        self.optimizer.build(self.meta_variables)
        self.pretrain_optimizer.build(self.weights)
        self.task_axis, self.jit = axis.resolve(task_axis, jit, model)
        self.dtype = tf.as_dtype(self.pure.adapted[0].dtype)
        self.figure_kinds = ("loss", "accuracy") if accuracy else ("loss",)
        self._compiled = {}

    @property
    def weights(self):
        """The model's trainable variables, adapted ones first."""
        return self.pure.adapted + self.pure.shared

    @property
    def meta_variables(self):
        """What the meta-update changes: the model's trainable variables, and the step sizes where they are learned."""
        return self.weights + self.step_sizes

    def train_step(self, tasks):
        """One meta-update.

        Args:
            tasks: Tasks.

        Returns:
            dict of scalars, means over tasks: `pre_loss` on the support before adaptation, `post_loss` on the query
            after it, and `pre_accuracy` and `post_accuracy` where there is an accuracy.
        """
        return self._call("train", self.train_graph, tasks)

    def pretrain_step(self, tasks):
        """One update of the weights on the mean support loss over tasks, without adaptation: the paper's baseline.

        Args and result as in `train_step`, without the post figures.
        """
        return self._call("pretrain", self.pretrain_graph, tasks)

    def meta_gradients(self, tasks):
        """The gradient of the mean query loss after adaptation: a list for `meta_variables`, before any clipping."""
        return self._call("meta_gradients", lambda t: self._meta_gradients(t)[0], tasks)

    def pretrain_gradients(self, tasks):
        """The gradient of the mean support loss without adaptation: a list for `weights`."""
        return self._call("pretrain_gradients", lambda t: self._pretrain_gradients(t)[0], tasks)

    def train_graph(self, tasks):
        """`train_step`, uncompiled: for use inside a compiled loop."""
        gradients, figures, statistics = self._meta_gradients(tasks)
        self.optimizer.apply(gradients, self.meta_variables)
        self.pure.assign_statistics(statistics)
        return figures

    def pretrain_graph(self, tasks):
        """`pretrain_step`, uncompiled: for use inside a compiled loop."""
        gradients, figures, statistics = self._pretrain_gradients(tasks)
        self.pretrain_optimizer.apply(gradients, self.weights)
        self.pure.assign_statistics(statistics)
        return figures

    def evaluate(self, tasks, num_updates, step_size=None):
        """Adapts to every task and judges it on its queries before and after every update.

        Args:
            tasks: Tasks.
            num_updates: inner updates.
            step_size: default, that of training.

        Returns:
            dict of arrays: `support_loss` [tasks] before adaptation, `losses` [tasks, 1 + num_updates] on the query
            after 0, 1, ... updates; `support_accuracy` and `accuracies` likewise where there is an accuracy.
        """
        key = ("evaluate", num_updates, step_size)

        def graph(tasks):
            return self.curves_graph(tasks, num_updates, step_size)

        return {name: value.numpy() for name, value in self._call(key, graph, tasks).items()}

    def adapt(self, x, y, num_updates=None, step_size=None):
        """Adapts to one task and returns its fast weights; the model itself stays as it is.

        Args:
            x: [support, ...] inputs.
            y: [support, outputs] targets.
            num_updates, step_size: default, those of training.

        Returns:
            Adapted, for `predict`.
        """
        num_updates = self.num_updates if num_updates is None else num_updates
        key = ("adapt", num_updates, step_size)

        def graph(x, y):
            params, shared, state = self._initial()
            size = self._step_size() if step_size is None else step_size
            params, inner = self._adapt(params, shared, _Inner(state), x, y, num_updates, size)
            return Adapted(params, inner.model_state)

        return self._call(key, graph, self._tensor(x), self._tensor(y))

    def predict(self, x, adapted=None, transductive=True):
        """Outputs for x by adapted weights, or by the initialisation where none are given.

        Args:
            x: [examples, ...].
            adapted: what `adapt` returned.
            transductive: normalise x by its own batch statistics, as the original does; otherwise by the support's.

        Returns:
            [examples, outputs].
        """
        initial_params, shared, initial_state = self._initial()
        params, state = adapted or (initial_params, initial_state)

        def graph(params, state, x):
            return self.pure(params, shared, state, x, training=transductive)[0]

        return self._call(("predict", transductive), graph, params, state, self._tensor(x))

    def _meta_gradients(self, tasks):
        names = [f"{when}_{what}" for when in ("pre", "post") for what in self.figure_kinds]
        return self._mean_gradients(self._meta_objective, names, self.meta_variables, tasks)

    def _pretrain_gradients(self, tasks):
        names = [f"pre_{what}" for what in self.figure_kinds]
        return self._mean_gradients(self._pretrain_objective, names, self.weights, tasks)

    def _meta_objective(self, params, shared, state, step_size, task):
        """One task's query loss after adaptation, which the meta-update descends (equation 1 of the paper)."""
        x, y = task.support_x, task.support_y
        # The first update by itself, because its support pass also gives the figures before adaptation.
        params, first = self._adapt(params, shared, _Inner(state), x, y, 1, step_size)
        params, last = self._adapt(params, shared, first, x, y, self.num_updates - 1, step_size)
        outputs, _, penalty = self.pure(params, shared, last.model_state, task.query_x)
        loss = self.loss(outputs, task.query_y)
        figures = self._figures("pre", first.loss, first.outputs, y) | self._figures(
            "post", loss, outputs, task.query_y
        )
        return loss + penalty, figures, last.model_state

    def _pretrain_objective(self, params, shared, state, step_size, task):
        """One task's support loss at the initialisation."""
        outputs, state, penalty = self.pure(params, shared, state, task.support_x)
        loss = self.loss(outputs, task.support_y)
        return loss + penalty, self._figures("pre", loss, outputs, task.support_y), state

    def _adapt(self, params, shared, inner, x, y, num_updates, step_size):
        def support_loss(params, inner):
            outputs, model_state, _ = self.pure(params, shared, inner.model_state, x)
            loss = self.loss(outputs, y)
            return loss, _Inner(model_state, outputs, loss)

        return adapt(
            support_loss,
            params,
            inner,
            step_size=step_size,
            num_updates=num_updates,
            first_order=self.first_order,
        )

    def curves_graph(self, tasks, num_updates, step_size=None):
        """`evaluate`, uncompiled; a loop over updates, each for all tasks, keeps the graph small."""
        step_size = self._step_size() if step_size is None else step_size
        tasks, seeds = self._elements(tasks)
        initial_params, shared, initial_state = self._initial()
        count = tf.nest.flatten(tasks)[0].shape[0]
        repeated = [tf.repeat(p[None], count, axis=0) for p in initial_params]
        states = self.pure.with_seeds([tf.repeat(s[None], count, axis=0) for s in initial_state], seeds)

        def judge(params, state, task, which):
            x, y = task[2:] if which == "query" else task[:2]
            outputs, _, _ = self.pure(params, shared, state, x)
            return self._figures(which, self.loss(outputs, y), outputs, y)

        def before(element):
            return judge(*element, "support") | judge(*element, "query")

        def update(element):
            params, state, task = element
            params, inner = self._adapt(params, shared, _Inner(state), *task[:2], 1, step_size)
            return params, inner.model_state, judge(params, inner.model_state, task, "query")

        def body(i, params, states, curves):
            elements = params, states, tasks
            params, states, figures = axis.map_tasks(update, elements, (*of_task, query_names), self.task_axis)
            return i + 1, params, states, {n: curves[n].write(i + 1, figures[n]) for n in curves}

        scalars = {f"{w}_{kind}": tf.TensorSpec([], self.dtype) for w in ("support", "query") for kind in self.figure_kinds}
        query_names = {n: s for n, s in scalars.items() if n.startswith("query")}
        of_task = tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape[1:], v.dtype), (repeated, states))
        first = axis.map_tasks(before, (repeated, states, tasks), scalars, self.task_axis)
        curves = {n: tf.TensorArray(self.dtype, num_updates + 1, element_shape=[count]).write(0, first[n]) for n in query_names}
        _, _, _, curves = tf.while_loop(
            lambda i, *_: i < num_updates, body, (0, repeated, states, curves), parallel_iterations=1
        )
        plural = {"query_loss": "losses", "query_accuracy": "accuracies"}
        support = {n: v for n, v in first.items() if n.startswith("support")}
        return support | {plural[n]: tf.transpose(array.stack()) for n, array in curves.items()}

    def _figures(self, prefix, loss, outputs, targets):
        figures = {f"{prefix}_loss": tf.convert_to_tensor(loss)}
        if self.accuracy:
            figures[f"{prefix}_accuracy"] = self.accuracy(outputs, targets)
        return figures

    def _mean_gradients(self, objective, figure_names, variables, tasks):
        """Gradients, figures and statistics of `objective`, each the mean over tasks."""

        def one_task(params, shared, state, step_size, task):
            watched = params + shared + (step_size if self.step_sizes else [])
            with tf.GradientTape() as tape:
                tape.watch(watched)
                loss, figures, state = objective(params, shared, state, step_size, task)
            gradients = tape.gradient(
                loss, watched[: len(variables)], unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            return [tf.convert_to_tensor(g) for g in gradients], figures, self.pure.statistics(state)

        signature = (
            [tf.TensorSpec(v.shape, v.dtype) for v in variables],
            {name: tf.TensorSpec([], self.dtype) for name in figure_names},
            [tf.TensorSpec(v.shape, v.dtype) for v in self.pure.statistics(self.pure.state)],
        )
        return axis.mean_over_tasks(self._of_task(one_task), self._elements(tasks), signature, self.task_axis)

    def _of_task(self, function):
        """Binds the initial weights, so that what is left is a function of one element of `_elements`."""
        params, shared, state = self._initial()
        step_size = self._step_size()

        def of_element(element):
            task, seeds = element
            return function(params, shared, self.pure.with_seeds(state, seeds), step_size, task)

        return of_element

    def _elements(self, tasks):
        """Tasks, each with its own seeds for random layers."""
        tasks = tf.nest.map_structure(self._tensor, tasks)
        iteration = self.optimizer.iterations + self.pretrain_optimizer.iterations
        return tasks, self.pure.seeds_per_task(iteration, tf.nest.flatten(tasks)[0].shape[0])

    def _step_size(self):
        return [tf.convert_to_tensor(s) for s in self.step_sizes] or self.step_size

    def _initial(self):
        variables = self.pure.adapted, self.pure.shared, self.pure.state
        return tuple([tf.convert_to_tensor(v) for v in group] for group in variables)

    def _tensor(self, value):
        value = tf.convert_to_tensor(value)
        return tf.cast(value, self.dtype) if value.dtype.is_floating else value

    def compiled(self, function):
        """A function of tensors compiled as this object's own steps are."""

        def traced(*args):
            with layers.vectorizable() if self.jit or self.task_axis == axis.VECTORIZE else nullcontext():
                return function(*args)

        return tf.function(traced, jit_compile=self.jit or None)

    def _call(self, key, function, *args):
        """Calls a function compiled once for each key."""
        if key not in self._compiled:
            self._compiled[key] = self.compiled(function)
        return self._compiled[key](*args)


def adam(learning_rate=1e-3, clip=None):
    """Adam with the epsilon of TensorFlow 1, which the original used, and optional elementwise gradient clipping."""
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8, clipvalue=clip)
