"""MAML: algorithms 1 and 2 of Finn, Abbeel and Levine (2017), `maml.py` of cbfinn/maml.

    theta'_i = theta - alpha * grad_theta L_support,i(theta)                         for each task i of a meta-batch
    theta <- theta - beta * grad_theta mean_i L_query,i(theta'_i)                    by Adam, beta its learning rate

`MAML.train_step` is one such meta-update. Its gradient goes through the inner update: hence the second derivatives.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import checks, inner_optimizers, optimizers, second_derivatives, serving, step_sizes, users_losses
from maml_tf.adaptation import gradients_of
from maml_tf.backend import keras, tf
from maml_tf.curves import after_each_update
from maml_tf.distribution import ALONE, Alone
from maml_tf.inner_optimizers import InnerOptimizer
from maml_tf.optimizers import adam, optimizer_of, steps_of
from maml_tf.pure_model import PureModel
from maml_tf.saving import Saved
from maml_tf.task_axis import Compiler, Fixed, compiled, mean_over_tasks, resolve
from maml_tf.task_learner import Adapted, Metrics, Start, TaskLearner

__all__ = ["MAML", "Adapted", "adam"]

Curves = dict[str, np.ndarray]


class MAML(Saved, Fixed):
    """Model-agnostic meta-learning of a Keras model's initial weights.

    Args:
        model: a built keras.Model.
        loss: function (outputs, targets) -> scalar; or a loss of Keras, or its name ("mse").
        step_size: alpha, or a list of one for each variable. If learned, also a tuple (low, high), to start between.
        num_updates: inner updates in meta-training, at least 1.
        first_order: whether to ignore second derivatives (`stop_grad` of the original).
        learn_step_size: whether to meta-learn alpha from `step_size` on: True, one for each adapted variable;
            "per_update" or "per_weight", also one for each update or weight (LSLR, Meta-SGD); see `step_sizes.learned`.
        query_weights: function (meta-updates done, an integer tensor) -> [num_updates] weights of the query loss after
            each update; the weighted sum is the meta-objective (MAML++). Default: the last loss alone.
        accuracy: optional function (outputs, targets) -> scalar that is reported beside the loss; or a metric of Keras,
            or its name ("accuracy"); or a dict of several by name, whose names replace "accuracy" in all results.
        optimizer, pretrain_optimizer: Keras optimizers, or their names, of the meta-update and pretraining. "adam" and
            the default are `adam()`; Reptile's meta-update defaults to gradient descent at its step size, 0.1.
        adapts: variables that the inner loop adapts: "all" (default), "head" (ANIL), "body" (BOIL), or a predicate on a
            variable; see `parts.adapts_part`. The others are meta-learned only.
        algorithm: "maml"; or "reptile", whose meta-gradient is theta - theta'. Reptile adapts every variable, and its
            inner optimizer continues from its state after the last meta-batch (Nichol, Achiam and Schulman 2018).
        inner_optimizer: "sgd", "momentum", "adam", or an `inner_optimizers.InnerOptimizer`.
        minibatch: number of support examples that each inner update uses; default, all of them.
        remat: whether the second-order derivative recomputes each inner update rather than keeping its activations.
        task_axis, jit: "map" or "vectorize", and whether to compile by XLA; for "auto" see `task_axis.resolve`.
        workers: the processes that share each meta-batch.

    Raises:
        UserError: an argument is not valid. All methods raise it too.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
        >>> maml = MAML(model, "mse", step_size=0.02)
        >>> x = np.linspace(-1, 1, 40).reshape(2, 20, 1)  # two tasks: y = x and y = -x
        >>> y = x * [[[1]], [[-1]]]
        >>> sorted(maml.train_step(Tasks(x[:, ::2], y[:, ::2], x[:, 1::2], y[:, 1::2])))
        ['post_loss', 'pre_loss']
        >>> maml.predict(x[0], maml.adapt(x[0], y[0], num_updates=5)).shape
        TensorShape([20, 1])
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Callable | str,
        *,
        step_size: Any = 0.01,
        num_updates: int = 1,
        first_order: bool = False,
        learn_step_size: bool | str = False,
        query_weights: Callable | None = None,
        accuracy: Callable | str | dict | None = None,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        pretrain_optimizer: keras.optimizers.Optimizer | str | None = None,
        adapts: Callable | str | None = None,
        algorithm: str = "maml",
        inner_optimizer: InnerOptimizer | str = "sgd",
        minibatch: int | None = None,
        remat: bool = False,
        task_axis: str = "auto",
        jit: bool | str = "auto",
        workers: Alone = ALONE,
    ):
        self.given = {name: value for name, value in locals().items() if name not in ("self", "model", "workers")}
        self.num_updates, self.first_order = checks.count(num_updates, "num_updates", 1), first_order
        self.loss = users_losses.as_loss(loss, model)
        self.accuracy = users_losses.as_accuracy(accuracy, model, self.loss)
        adapts, step_size = None if adapts == "all" else adapts, step_sizes.checked(step_size)
        only_maml = {"learn_step_size": learn_step_size, "query_weights": query_weights, "remat": remat}
        self.reptile, self.remat = checks.is_reptile(algorithm, adapts=adapts, **only_maml), remat
        self.pure = PureModel(model, adapts or ("everything" if self.reptile else None))
        self.model, self.dtype = model, self.pure.dtype
        inner = inner_optimizers.find(inner_optimizer, self.reptile)
        minibatch = None if minibatch is None else checks.count(minibatch, "minibatch", 1)
        self.learner = TaskLearner(self.pure, self.loss, self.accuracy, first_order or self.reptile, inner, minibatch)
        now = not self.learner.first_order and self.pure.built_on is not None
        self._checked = now and second_derivatives.check(self.pure, self.pure.built_on, stacklevel=2)
        self.step_size, self.learn_step_size, self.query_weights = step_size, learn_step_size, query_weights
        self.step_sizes = step_sizes.learned(learn_step_size, step_size, self.pure.adapted, self.num_updates)
        default = keras.optimizers.SGD(0.1) if self.reptile else None
        self.optimizer, self.pretrain_optimizer = optimizer_of(optimizer or default), optimizer_of(pretrain_optimizer)
        slots = tf.nest.flatten(inner.init(self.pure.adapted)) if self.reptile else []
        self.slots = [keras.Variable(value, dtype=self.dtype.name, name="slot") for value in slots]
        optimizers.build(self.optimizer, self.meta_variables)
        optimizers.build(self.pretrain_optimizer, self.weights)
        self.task_axis, self.jit = resolve(task_axis, jit, model)
        self.workers, self.target_spec = workers, None  # target_spec: [examples, ...], that of training if any
        self.compiler = Compiler(self.task_axis, self.jit, workers.count > 1, self.pure.check_trainable)
        self._server, self._fixed = serving.Server(self), {*self.given, *self.__dict__} - {"target_spec", "slots"}

    @property
    def weights(self) -> list[keras.Variable]:
        """The model's trainable variables, adapted ones first."""
        return self.pure.adapted + self.pure.shared

    @property
    def meta_variables(self) -> list[keras.Variable]:
        """What the meta-update changes: the model's trainable variables, and the step sizes where they are learned."""
        return self.weights + self.step_sizes

    @compiled
    def train_step(
        self, tasks: Tasks, *, first: int = 0, first_order: bool | None = None, last: bool = False
    ) -> Metrics:
        """Makes one meta-update: theta <- Adam(theta, the mean over tasks of grad_theta L_query(theta')).

        Args:
            tasks: Tasks, this worker's share of the meta-batch.
            first: index of the first of these tasks in the meta-batch, for the seeds of random layers.
            first_order: setting for this step, in place of the MAML's own.
            last: whether to use only the query loss after the last update, whatever `query_weights` says.

        Returns:
            dict of scalars, means over tasks: `pre_loss` on the support before adaptation, `post_loss` on the query
            after it, and `pre_accuracy` and `post_accuracy` where there is an accuracy.
        """
        objective, moments = self._meta_objective(tasks, first_order, last), ("pre", "post")
        gradients, metrics, left = self._mean_over_tasks(objective, moments, self.meta_variables, tasks, first)
        self.compiler.part(lambda *g: self.optimizer.apply(g, self.meta_variables), *gradients)
        self.pure.assign_statistics(left[0])
        for variable, value in zip(self.slots, left[1], strict=True):
            variable.assign(value)
        return metrics

    @compiled
    def pretrain_step(self, tasks: Tasks, *, first: int = 0) -> Metrics:
        """Updates the weights once on the mean support loss over tasks, without adaptation: the paper's baseline.

        Args and result are those of `train_step`, without the metrics after adaptation.
        """
        objective, moments = self.learner.pretrain_objective, ("pre",)
        gradients, metrics, left = self._mean_over_tasks(objective, moments, self.weights, tasks, first)
        self.compiler.part(lambda *g: self.pretrain_optimizer.apply(g, self.weights), *gradients)
        self.pure.assign_statistics(left[0])
        return metrics

    @compiled
    def meta_gradients(
        self, tasks: Tasks, *, first_order: bool | None = None, first: int = 0, last: bool = False
    ) -> list[tf.Tensor]:
        """The gradient that `train_step` descends, before any clipping: a list for `meta_variables`.

        Args are those of `train_step`.
        """
        objective = self._meta_objective(tasks, first_order, last)
        return self._mean_over_tasks(objective, ("pre", "post"), self.meta_variables, tasks, first)[0]

    def _meta_objective(self, tasks, first_order=None, last=False):
        if self.reptile:
            return functools.partial(self.learner.reptile_objective, num_updates=self.num_updates)
        learner = self.learner if first_order is None else self.learner._replace(first_order=first_order)
        if not (learner.first_order or self._checked):
            inputs = checks.of_one_task(self.pure.inputs(tasks[0], "support_x"))
            self._checked = second_derivatives.check(self.pure, inputs, stacklevel=5)
        weights = None if last else self.query_weights
        weights = weights and tf.cast(weights(self.optimizer.iterations), self.dtype)
        if weights is not None and weights.shape != (self.num_updates,):
            raise UserError(f"query_weights gives {weights.shape}, but must give a weight for each update")
        settings = {"num_updates": self.num_updates, "query_weights": weights, "remat": self.remat}
        return functools.partial(learner.meta_objective, **settings)

    def _mean_over_tasks(self, objective, moments, variables, tasks, first):
        """Averages an objective's gradients, metrics and new state over a meta-batch: lines 4 to 10 of algorithm 1."""
        start, (*elements, count) = self.start(), self._elements(tasks, first, moments)
        self.pure.observe(checks.of_one_task(elements[0].support_x))
        watched = start.trainable[: len(variables)]

        def of_task(element):
            task, seeds, orders = element
            with tf.GradientTape() as tape:
                tape.watch(watched)
                state, order = self.pure.with_seeds(start.state, seeds), orders[0] if orders else None
                value, metrics, state, slots = objective(start._replace(state=state, order=order), task)
            return gradients_of(tape, value, watched), metrics, (self.pure.statistics(state), slots)

        left = self.pure.statistics(start.state), self.slots if "post" in moments else []
        signature = checks.specs(watched), self.learner.metric_specs(*moments), checks.specs(left)
        mean = functools.partial(mean_over_tasks, of_task, signature=signature, task_axis=self.task_axis)
        return self.workers.mean(self.compiler.part(mean, elements), count)

    def evaluate(self, tasks: Tasks, num_updates: int, step_size: Any = None, transductive: bool = True) -> Curves:
        """Adapts to every task and measures its queries before and after every update.

        Args:
            tasks: Tasks.
            num_updates: inner updates.
            step_size: a number, a list of one per adapted variable, or an array [num_updates]; default, as in training.
            transductive: as for `predict`; the default is that of the paper's tests. Use False with Dropout.

        Returns:
            dict of arrays: `support_loss` [tasks] before adaptation, `losses` [tasks, 1 + num_updates] on the query
            after 0, 1, ... updates; `support_accuracy` and `accuracies` likewise where there is an accuracy.
        """
        num_updates = checks.count(num_updates, "num_updates", 0)
        step_size = step_sizes.given(step_size, num_updates, self.dtype)
        curves = self.curves(tasks, step_size, num_updates=num_updates, transductive=transductive)
        return {name: value.numpy() for name, value in curves.items()}

    @compiled
    def curves(
        self,
        tasks: Tasks,
        step_size: Any = None,
        *,
        num_updates: int,
        transductive: bool = True,
        learner: Any = None,
        first: int = 0,
    ) -> Metrics:
        """Computes `evaluate` as tensors, compiled. learner: another TaskLearner to use; first: as for `train_step`."""
        start, (tasks, seeds, _, count) = self.start(step_size), self._elements(tasks, first)
        order = self.learner.order_of_one(tasks.support_x, num_updates, axis=1)  # the order that `adapt` uses too
        orders = [] if order is None else [tf.repeat(order[None], count, axis=0)]
        state = self.pure.with_seeds([tf.repeat(t[None], count, axis=0) for t in start.state], seeds)
        what = start._replace(state=state), tasks, orders, num_updates, transductive, self.task_axis
        return self.compiler.part(lambda: after_each_update(learner or self.learner, *what))

    def adapt(self, x: Any, y: Any, num_updates: int | None = None, step_size: Any = None) -> Adapted:
        """Adapts to a task and returns its fast weights; the model does not change. One graph serves any support size.

        Args:
            x: [support, ...] inputs, or a structure of them where the model has several.
            y: [support, outputs] targets, or whatever the loss takes.
            num_updates, step_size: as for `evaluate`; default, those of training.
        """
        return self._server.adapt(x, y, num_updates, step_size)

    def predict(self, x: Any, adapted: Adapted | None = None, transductive: bool = False) -> Any:
        """Returns outputs [examples, ...] for x by adapted or initial weights. One graph serves any number of examples.

        Args:
            x: [examples, ...], or a structure of arrays where the model has several inputs.
            adapted: result of `adapt`.
            transductive: whether to call the model as in training: Dropout is active, and x is normalised by its own
                batch statistics, as in the original's tests, so that an output depends on the rest of x. Otherwise
                training=False: x is normalised by the support's statistics in the state of `adapted`. Stock Keras
                layers have moving averages there, which a pass over the support moves only a little towards its own.
        """
        return self._server.predict(x, adapted, transductive)

    adapted_model = serving.adapted_model

    def start(self, step_size: Any = None) -> Start:
        """Makes every task's Start from the variables; step_size: of `step_sizes.given`, or None as in training."""
        groups = self.pure.adapted, self.pure.shared, self.pure.state, self.step_sizes
        params, shared, state, learned = ([tf.convert_to_tensor(v) for v in group] for group in groups)
        fresh, slots = self.learner.optimizer.init(params), [tf.convert_to_tensor(v) for v in self.slots]
        slots = tf.nest.pack_sequence_as(fresh, slots) if slots else fresh
        if step_size is None and learned:
            step_size = step_sizes.as_adapt_takes(self.learn_step_size, learned, self.num_updates)
        step_size = self.step_size if step_size is None else step_sizes.by_update(step_size)
        return Start(params, shared, state, step_size, learned, slots)

    def _elements(self, tasks, first=0, trains=()):
        """Returns the tasks, seeds for their random layers, their orders of examples, and the number of tasks."""
        tasks = self.pure.tasks(tasks)
        count = checks.number_of(tasks, not trains or "post" in trains)
        if tf.is_tensor(tasks.support_y) and (trains or self.target_spec is None):
            self.target_spec = tf.TensorSpec([None, *tasks.support_y.shape[2:]], tasks.support_y.dtype)
        iteration = tf.cast(steps_of(self.optimizer) + steps_of(self.pretrain_optimizer), tf.int64)
        seeds = [s[first:] for s in self.pure.seeds_per_task(iteration, first + count)]
        examples, seed = checks.size(tf.nest.flatten(tasks.support_x)[0], 1), tf.stack([iteration, 0])
        order = self.learner.order(first + count, examples, self.num_updates, seed)
        return tasks, seeds, [] if order is None else [order[first:]], count


load = MAML.load
