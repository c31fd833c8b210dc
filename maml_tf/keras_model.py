"""MAML as a keras.Model: compile, fit, evaluate, predict, callbacks and `.keras` files, on batches of tasks.

A step of `fit` is `MAML.train_step`, a step of `evaluate` is `MAML.curves`, and a step of `predict` is `MAML.adapt` and
`MAML.predict`: nothing is computed here.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from data_generators.errors import UserError
from maml_tf import checks, losses, step_sizes, users_losses
from maml_tf.backend import keras, tf
from maml_tf.curves import curve_of
from maml_tf.encoding import Missing, decoded, encoded
from maml_tf.keras_data import as_pairs, as_support_and_query, as_tasks, for_fit, for_keras
from maml_tf.keras_means import Means, by_names
from maml_tf.maml import MAML
from maml_tf.optimizers import adam
from maml_tf.pure_model import is_seed
from maml_tf.task_axis import MAP, map_tasks

_ELSEWHERE = {
    "loss": "compile(loss=...)",
    "accuracy": "compile(metrics=[...])",
    "optimizer": "compile(optimizer=...)",
    "jit": "compile(jit_compile=...)",
    "step_size": "inner_step_size=...",
}
_TRAINED = {"network": "model", "optimizer": "optimizer"}  # what the MAML of `compile` trains, and by what
_LATER = {"num_updates", "test_updates", "inner_step_size"}  # arguments that may be set on a model
# The arguments of a model. It keeps them for good, except for those in _LATER.
_ARGUMENTS = {*inspect.signature(MAML).parameters, "inner_step_size", "test_updates"} - _ELSEWHERE.keys() - {"model"}


@keras.saving.register_keras_serializable("maml_tf")
class MAMLModel(keras.Model):
    """Meta-learns a network's initial weights by Keras's own training loop.

    A batch is ((support_x, support_y), (query_x, query_y)) or Tasks, each array [tasks, examples, ...]. `fit` and
    `evaluate` take a tf.data.Dataset, a keras.utils.PyDataset or an iterator of batches; or one Tasks, which Keras
    divides into batches of `batch_size` tasks. `predict` takes ((support_x, support_y), query_x), or batches of this
    form, and returns [tasks, query, ...]; it is not transductive, see `MAML.predict`.

    `fit` reports means over tasks: `loss` and the metrics on the query after adaptation, `support_loss` and so on
    before it. `evaluate` also reports `loss_after_0`, `loss_after_1`, ... on the query after each update; it is
    transductive, as `MAML.evaluate` is by default.

    Args:
        network: a built keras.Model, whose weights are meta-learned.
        inner_step_size: alpha, `step_size` of `MAML`.
        num_updates: inner updates in meta-training. If it is set later, the next `compile` uses it.
        test_updates: inner updates of `evaluate` and `predict`; default, `num_updates`. If it is set later, it is used
            at once.
        name: name of the model.
        settings: the other arguments of `MAML`, except those that belong to `compile`.

    Raises:
        UserError: an argument is not valid. All methods raise it too.

    Example:
        >>> network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
        >>> model = MAMLModel(network, inner_step_size=0.02)
        >>> model.compile(optimizer="adam", loss="mse")
        >>> x = tf.reshape(tf.linspace(-1.0, 1.0, 40), [2, 20, 1])
        >>> tasks = Tasks(x[:, ::2], x[:, ::2], x[:, 1::2], x[:, 1::2])  # two tasks, y = x
        >>> sorted(model.fit(tasks, verbose=0).history)
        ['loss', 'support_loss']
        >>> sorted(model.evaluate(tasks, test_updates=2, return_dict=True, verbose=0))
        ['loss', 'loss_after_0', 'loss_after_1', 'loss_after_2', 'support_loss']
        >>> model.predict(((x, x), x[:, :5]), verbose=0).shape
        (2, 5, 1)
    """

    def __init__(
        self,
        network: keras.Model,
        inner_step_size: Any = 0.01,
        num_updates: int = 1,
        *,
        test_updates: int | None = None,
        name: str | None = None,
        **settings: Any,
    ):
        super().__init__(name=name)
        for wrong in settings.keys() & _ELSEWHERE.keys():
            raise UserError(f"MAMLModel takes no {wrong}: give {_ELSEWHERE[wrong]} in its place")
        self.inner_step_size, self.num_updates, self.test_updates = inner_step_size, num_updates, test_updates
        self._maml: MAML | None = None
        self._settings, self._means, self._updates = settings, Means(), None
        # This MAML makes the variables, so that the model has them; the MAML of `compile` checks second derivatives.
        first = MAML(network, losses.mse, step_size=inner_step_size, **self._arguments(first_order=True))
        self.network, self.step_sizes = network, first.step_sizes
        self.slots = [keras.Variable(slot, dtype=slot.dtype, trainable=False, name="slot") for slot in first.slots]
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute as any keras.Model does; refuses arguments that only `__init__` can set."""
        made = self.__dict__.get("_settings") is not None and name in _ARGUMENTS
        if made and (name not in _LATER or (name == "inner_step_size" and self.step_sizes)):
            how = "it is learned" if name in _LATER else f"give {name}=... to MAMLModel"
            raise UserError(f"{name} cannot be set on a model: {how}")
        if name in _TRAINED and getattr(self.__dict__.get("_maml"), _TRAINED[name], value) is not value:
            raise UserError(f"{name} cannot be set on a compiled model: give it to compile, or to a new MAMLModel")
        super().__setattr__(name, value)
        if made and name == "test_updates" and self._maml is not None:
            self._test_as_usual()

    def _test_as_usual(self):
        """Makes `evaluate` and `predict` do as many updates as the model's attributes say."""
        self._predicted = tf.function(self._predict, autograph=False, reduce_retracing=True)
        self.predict_function = None
        self._test_by(None)

    def _arguments(self, **others):
        return {"num_updates": self.num_updates, **self._settings, **others}

    @property
    def maml(self) -> MAML:
        """The MAML behind the model, which has further methods: `model.maml.adapt(x, y)`."""
        if self._maml is None:
            raise UserError("the model has no loss yet: call compile(optimizer, loss) first")
        self._maml.pure.check_trainable()
        return self._maml

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = "adam",
        loss: Callable | str | None = None,
        metrics: Iterable | Callable | Mapping | str | None = None,
        *,
        jit_compile: bool | str = "auto",
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Sets what training needs; the weights do not change.

        Args:
            optimizer: of the meta-update; "adam" is the original's, `maml_tf.adam()`, and None is MAML's default.
            loss: a loss of Keras or its name, one of `maml_tf.losses`, or a function (y_true, y_pred).
            metrics: metrics to report beside the loss, in the same forms, or a dict of them by name; "accuracy" is
                `losses.accuracy`.
            jit_compile: whether XLA compiles, `jit` of `MAML`.
            run_eagerly, steps_per_execution: as for any keras.Model.
        """
        if loss is None:
            raise UserError('compile needs a loss, such as compile(optimizer="adam", loss="mse")')
        metrics = by_names(metrics)
        given = {"loss": loss, "metrics": metrics, "jit_compile": jit_compile, "run_eagerly": run_eagerly}
        self._maml = MAML(
            self.network,
            users_losses.targets_first(loss),
            accuracy={name: users_losses.targets_first(metric) for name, metric in metrics.items()},
            optimizer=adam() if optimizer == "adam" else optimizer,
            jit=jit_compile,
            step_size=list(self.step_sizes) or self.inner_step_size,
            **self._arguments(),
        )
        self._maml.slots = list(self.slots)
        # MAML compiles each step itself. In a graph of Keras, TensorFlow would optimise the step differently and so
        # round differently, unless XLA compiles it.
        super().compile(
            self._maml.optimizer,
            run_eagerly=run_eagerly or not self._maml.jit,
            steps_per_execution=steps_per_execution,
            jit_compile=False,
            auto_scale_loss=False,
        )
        self._given = encoded({**given, "steps_per_execution": steps_per_execution})
        self._means, self._updates = Means(), None
        self._means.make([*self._kinds(), *(f"support_{kind}" for kind in self._kinds())])
        self._test_as_usual()

    def _kinds(self):
        return [name.removeprefix("post_") for name in self.maml.learner.metric_names("post")]

    def _test_by(self, updates):
        """Makes `evaluate` do this number of updates; None: the model's own number."""
        usual = self._test_updates()
        updates = usual if updates is None else checks.count(updates, "test_updates", 0)
        if updates != self._updates:
            self._updates, self.test_function = updates, None
            self._means.make(f"{kind}_after_{i}" for kind in self._kinds() for i in range(updates + 1))

    def _test_updates(self):
        of_training, own = self.maml.num_updates, self.test_updates
        return of_training if own is None else checks.count(own, "test_updates", 0)

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The variables that the optimizer changes, in its order: Keras assigns averages (`use_ema`) by position."""
        return super().trainable_weights if self._maml is None or not self.trainable else self._maml.meta_variables

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means over tasks of all metrics that are reported."""
        return list(self._means.by_name.values()) if self.compiled else []

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the outputs of the network with its initial weights."""
        return self.network(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Makes one meta-update: `MAML.train_step`."""
        found = self.maml.train_step(tasks := as_tasks(data))
        values = {kind: found[f"post_{kind}"] for kind in self._kinds()}
        values |= {f"support_{kind}": found[f"pre_{kind}"] for kind in self._kinds()}
        return self._means.update(values, checks.size(tf.nest.flatten(tasks)[0]))

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Measures a batch of tasks before and after every update: `MAML.curves`."""
        found, values = self.maml.curves(as_tasks(data), num_updates=self._updates), {}
        for kind in self._kinds():
            after = found[curve_of(kind)]
            values |= {kind: after[:, -1], f"support_{kind}": found[f"support_{kind}"]}
            values |= {f"{kind}_after_{i}": after[:, i] for i in range(self._updates + 1)}
        return self._means.update(values)

    def predict_step(self, data: Any) -> Any:
        """Adapts to each task and predicts its queries: `MAML.adapt` and `MAML.predict`."""
        _ = self.maml  # an error if there is no loss yet
        return self._predicted(as_support_and_query(data))

    def _predict(self, data):
        maml, updates, ((x, y), query_x) = self.maml, self._test_updates(), data
        elements = maml.pure.inputs(x, "support_x"), maml.pure.targets(y), maml.pure.inputs(query_x, "query_x")

        def of_task(element):
            x, y, query_x = element
            return maml.predict(query_x, maml.adapt(x, y, updates))

        graph = tf.function(of_task, autograph=False).get_concrete_function(checks.of_one_task(elements))
        return map_tasks(of_task, elements, checks.specs(graph.structured_outputs), MAP)

    def fit(self, x: Any = None, y: Any = None, **settings: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, on tasks."""
        _ = self.maml  # an error if there is no loss yet
        if "validation_data" in settings:
            settings["validation_data"] = for_keras(settings["validation_data"], as_pairs)
        shuffles = not (hasattr(x, "__next__") or isinstance(x, tf.data.Dataset))  # Keras does not shuffle these
        return super().fit(*for_fit(x, y, settings), **{"shuffle": shuffles, **settings})

    def evaluate(self, x: Any = None, y: Any = None, *, test_updates: int | None = None, **settings: Any) -> Any:
        """Tests as `keras.Model.evaluate` does, on tasks; test_updates: inner updates in place of the usual number."""
        self._test_by(test_updates)
        return super().evaluate(*for_fit(x, y, settings), **settings)

    def predict(self, x: Any, **settings: Any) -> Any:
        """Predicts as `keras.Model.predict` does, from support sets and queries."""
        _ = self.maml  # an error if there is no loss yet
        return super().predict(for_keras(x, as_support_and_query), **settings)

    def _own_variables(self):
        # Keras does not save the seeds of layers; without them a resumed run would draw other random numbers.
        seeds = filter(is_seed, self.network.non_trainable_variables)
        return {str(i): variable for i, variable in enumerate([*self.step_sizes, *self.slots, *seeds])}

    def save_own_variables(self, store: Any) -> None:
        """Saves the variables that are not the network's, and the network's seeds."""
        for name, variable in self._own_variables().items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        own = self._own_variables()
        if store.keys() != own.keys():
            raise ValueError(f"the file has {len(store.keys())} step sizes, slots and seeds, but the model {len(own)}")
        for name, variable in own.items():
            variable.assign(store[name])

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration from which `from_config` makes the model again, uncompiled."""
        network = keras.saving.serialize_keras_object(self.network)
        size = step_sizes.as_config(self.inner_step_size)
        own = {"inner_step_size": size, "test_updates": self.test_updates, **self._arguments()}
        return {"name": self.name, "network": network, "arguments": encoded(own)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MAMLModel":
        """Makes the model of `get_config`; finds the user's functions in `keras.saving.custom_object_scope`."""
        network = keras.saving.deserialize_keras_object(config["network"])
        arguments = _restored(config["arguments"])
        size = step_sizes.of_config(arguments.pop("inner_step_size"), arguments.get("learn_step_size"))
        return cls(network, name=config["name"], inner_step_size=size, **arguments)

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the configuration with which `compile_from_config` compiles the model."""
        return {**self._given, "optimizer": encoded(self.optimizer)} if self.compiled else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model as it was compiled when it was saved."""
        self.compile(**_restored(config))


def _restored(config):
    try:
        return decoded(config)
    except Missing as error:
        remedy = f"give load_model(path, custom_objects={{{str(error)!r}: ...}})"
        raise UserError(f"the file cannot hold {error}: {remedy}") from error
