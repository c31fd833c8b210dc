"""MAML: meta-gradients through the inner loop, the meta-training step, the pretraining step and evaluation.

Finn, Abbeel and Levine (2017), algorithms 1 and 2; `maml.py` of cbfinn/maml.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import checks, losses, second_derivatives
from maml_tf import task_axis as axis
from maml_tf.curves import curves
from maml_tf.export import export
from maml_tf.meta_gradients import meta_gradients, pretrain_gradients
from maml_tf.pure_model import PureModel
from maml_tf.task_axis import Compiler
from maml_tf.task_learner import TaskLearner


class Adapted(NamedTuple):
    """What one task's adaptation leaves: fast weights, and the state with the support's statistics under them."""

    params: list
    state: list


class MAML:
    """Model-agnostic meta-learning of a Keras model's initial weights.

    Args:
        model: a built keras.Model.
        loss: function (outputs, targets) -> scalar; or a loss of Keras, or its name ("mse").
        step_size: of the inner loop (alpha).
        num_updates: inner updates in meta-training, at least 1.
        first_order: ignore second derivatives (`stop_grad` of the original).
        learn_step_size: meta-learn one step size per adapted variable, starting at `step_size`.
        accuracy: optional function (outputs, targets) -> scalar that is reported beside the loss; or a metric of Keras,
            or its name ("accuracy").
        optimizer, pretrain_optimizer: of the meta-update and of pretraining, a Keras optimizer or its name; default
            `adam()`.
        adapts: predicate on a variable, whether the inner loop adapts it; default, see
            `pure_model.adapts_by_default`. The others are meta-learned only.
        task_axis: "auto", "map" or "vectorize"; see `task_axis.resolve`.
        jit: "auto", or whether to compile by XLA.

    Raises:
        UserError: an argument does not fit, here as in all methods.
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
        self.num_updates, self.first_order = checks.count(num_updates, "num_updates", 1), first_order
        self.loss, self.accuracy = losses.as_loss(loss), losses.as_accuracy(accuracy)
        self.pure = PureModel(model, adapts)
        self.model = model
        self.learner = TaskLearner(self.pure, self.loss, self.accuracy, first_order)
        self._checked = False
        if not first_order and self.pure.built_on is not None:
            self._check_second_derivatives(self.pure.built_on, stacklevel=3)
        self.step_size = step_size
        self.step_sizes = []
        if learn_step_size:
            self.step_sizes = [keras.Variable(step_size, dtype=v.dtype, name="step_size") for v in self.pure.adapted]
        self.optimizer, self.pretrain_optimizer = (
            checks.optimizer(o) or adam() for o in (optimizer, pretrain_optimizer)
        )
        self.optimizer.build(self.meta_variables)
        self.pretrain_optimizer.build(self.weights)
        self.task_axis, self.jit = axis.resolve(task_axis, jit, model)
        self.dtype = self.pure.dtype
        self.target_spec = None  # of the targets [examples, ...], known from the first tasks on
        self._compiler = Compiler(self.task_axis, self.jit)
        # What serves one task at a time: traced once for any number of examples and updates, which XLA could not.
        self._server = Compiler(axis.MAP, jit=False)

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
        return self._call("meta_gradients", self.meta_gradients_graph, tasks)

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

    def meta_gradients_graph(self, tasks, first_order=None):
        """`meta_gradients`, uncompiled; to first or second order as asked for, by default as in training."""
        return self._meta_gradients(tasks, first_order)[0]

    def curves_graph(self, tasks, num_updates, step_size=None, transductive=True):
        """`evaluate`, uncompiled, which returns tensors."""
        step_size = self._step_size() if step_size is None else step_size
        elements, how = self._elements(tasks), self.task_axis
        return curves(self.learner, self._initial(), step_size, *elements, num_updates, how, transductive)

    def figure_names(self, *moments):
        """The figures' names at some moments of a step: "pre" or "post" adaptation."""
        return self.learner.figure_names(*moments)

    def evaluate(self, tasks, num_updates, step_size=None, transductive=True):
        """Adapts to every task and judges it on its queries before and after every update.

        Args:
            tasks: Tasks.
            num_updates: inner updates.
            step_size: a float, a scalar tensor, or a list of them for the adapted variables; default, that of training.
            transductive: as for `predict`; by default queries are normalised by their own statistics, as in the paper's
                tests.

        Returns:
            dict of arrays: `support_loss` [tasks] before adaptation, `losses` [tasks, 1 + num_updates] on the query
            after 0, 1, ... updates; `support_accuracy` and `accuracies` likewise where there is an accuracy.
        """
        num_updates = checks.count(num_updates, "num_updates", 0)
        key = ("evaluate", num_updates, transductive)

        def graph(tasks, step_size):
            return self.curves_graph(tasks, num_updates, step_size, transductive)

        figures = self._call(key, graph, tasks, self._as_tensors(step_size))
        return {name: value.numpy() for name, value in figures.items()}

    def adapt(self, x, y, num_updates=None, step_size=None):
        """Adapts to one task and returns its fast weights; the model itself stays as it is.

        Compiled once for any number of examples and updates.

        Args:
            x: [support, ...] inputs, or a structure of them where the model has several.
            y: [support, outputs] targets, or whatever the loss takes.
            num_updates, step_size: as for `evaluate`; default, those of training.

        Returns:
            Adapted, for `predict`.
        """
        num_updates = self.num_updates if num_updates is None else checks.count(num_updates, "num_updates", 0)
        x, y = self._inputs(x, "x", axis=0), self._targets(y)
        checks.support(x, y)

        def graph(x, y, num_updates, step_size):
            return Adapted(*self.learner.fast_weights(*self._initial(), x, y, num_updates, step_size))

        step_size = self._as_tensors(self._step_size() if step_size is None else step_size)
        settings = tf.nest.map_structure(tf.convert_to_tensor, (num_updates, step_size))
        specs = checks.any_number(x, self.pure.input_specs), checks.any_number(y), *map(checks.specs, settings)
        return self._server.call_as("adapt", graph, (x, y, *settings), specs)

    def predict(self, x, adapted=None, transductive=False):
        """Outputs for x by adapted weights, or by the initialisation where none are given.

        Compiled once for any number of examples.

        Args:
            x: [examples, ...], or a structure of such where the model has several inputs.
            adapted: what `adapt` returned.
            transductive: normalise x by its own batch statistics, as the original does in its tests, so that an answer
                depends on what else is asked; otherwise by those in the state of `adapted`, the support's (the model is
                then called with training=False). Stock Keras layers keep moving averages there, which every pass over
                the support moves a little towards its own.

        Returns:
            [examples, outputs].
        """
        initial_params, _, initial_state = self._initial()
        params, state = adapted or (initial_params, initial_state)

        def graph(x, params, state):
            shared = self._initial()[1]
            return self.pure(params, shared, state, x, training=transductive)[0]

        x = self._inputs(x, "x", axis=0)
        specs = checks.any_number(x, self.pure.input_specs), checks.specs(params), checks.specs(state)
        return self._server.call_as(("predict", transductive), graph, (x, params, state), specs)

    def export(self, path, **settings):
        """Writes a SavedModel that adapts without this project; see `export.export`."""
        return export(self, path, **settings)

    def _call(self, key, graph, tasks, *others):
        return self._compiler.call(key, graph, Tasks(*map(checks.arrays, tasks)), *others)

    def _check_second_derivatives(self, inputs, stacklevel):
        if not self._checked:
            self._checked = second_derivatives.check(self.pure, inputs, stacklevel)

    def _meta_gradients(self, tasks, first_order=None):
        learner = self.learner if first_order is None else self.learner._replace(first_order=first_order)
        elements = self._elements(tasks)
        if not learner.first_order:
            self._check_second_derivatives(checks.of_one_task(elements[0].support_x), stacklevel=6)
        return meta_gradients(learner, self._start(), elements, self.num_updates, self.task_axis)

    def _pretrain_gradients(self, tasks):
        return pretrain_gradients(self.learner, self._start(), self._elements(tasks, queries=False), self.task_axis)

    def _elements(self, tasks, queries=True):
        """Tasks, each with its own seeds for random layers."""
        tasks = Tasks(
            self._inputs(tasks[0], "support_x"),
            self._targets(tasks[1]),
            self._inputs(tasks[2], "query_x"),
            self._targets(tasks[3]),
        )
        if tf.is_tensor(tasks.support_y):
            self.target_spec = tf.TensorSpec([None, *tasks.support_y.shape[2:]], tasks.support_y.dtype)
        iteration = self.optimizer.iterations + self.pretrain_optimizer.iterations
        return tasks, self.pure.seeds_per_task(iteration, checks.number_of(tasks, queries))

    def _step_size(self):
        return [tf.convert_to_tensor(s) for s in self.step_sizes] or self.step_size

    def _as_tensors(self, step_size):
        """A step size, or a list of them, for a compiled function; a float must not pass through float32."""
        return tf.nest.map_structure(lambda s: tf.constant(s, self.dtype) if isinstance(s, float) else s, step_size)

    def _start(self):
        return *self._initial(), self._step_size()

    def _initial(self):
        groups = self.pure.adapted, self.pure.shared, self.pure.state
        return tuple([tf.convert_to_tensor(v) for v in group] for group in groups)

    def _inputs(self, value, name, axis=1):
        specs = self.pure.input_specs
        value = checks.tensors(value, self.dtype, single=specs and len(specs) == 1)
        checks.inputs(value, specs, name, axis)
        return value

    def _targets(self, value):
        return checks.tensors(value, self.dtype, single=self.pure.has_one_output)

    def compiled(self, function):
        """A function of tensors compiled as this object's own steps are."""
        return self._compiler.compiled(function)


def adam(learning_rate=1e-3, clip=None):
    """Adam with the epsilon of TensorFlow 1, which the original used, and optional elementwise gradient clipping."""
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8, clipvalue=clip)
