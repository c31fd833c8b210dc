"""A Keras model as a pure function of its variables, which is what the inner loop adapts."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import checks
from maml_tf.backend import keras, tf, without_cudnn
from maml_tf.graphs import traced
from maml_tf.keras_data import as_tasks
from maml_tf.parts import adapts_part, sublayers


class Known(NamedTuple):
    """Inputs of one task, with the moments that the model's first layer takes from them for any weights.

    `PureModel` takes it in place of the inputs alone, and returns the same.

    x: inputs [examples, ...].
    moments: result of `PureModel.moments`.
    """

    x: Any
    moments: tuple


class PureModel:
    """A built Keras model called with tensors in place of its variables.

    The variables fall into three lists: `adapted`, the trainable ones that the inner loop changes; `shared`, the other
    trainable ones, which only the meta-update changes; and `state`, the rest: normalisation statistics and seeds.

    `Scope` does what `Model.stateless_call` does, but goes through `Model.__call__`, so that `training`
    also reaches the layers of a subclassed model whose `call` does not pass it on.

    Args:
        model: a built keras.Model.
        adapts: predicate on a variable, whether the inner loop adapts it; or a name, see `adapts_part`.

    Raises:
        UserError: the model is not one of Keras 3 or not built, or nothing adapts.
    """

    def __init__(self, model: keras.Model, adapts: Callable[[keras.Variable], bool] | str | None = None):
        if not isinstance(model, keras.Model):
            legacy = any(kind.__module__.startswith("tf_keras") for kind in type(model).__mro__)
            kind = "a model of legacy Keras (tf_keras)" if legacy else f"a {type(model).__name__}"
            raise UserError(f"the model must be a keras.Model of Keras 3, but is {kind}: build it with `import keras`")
        if not model.built:
            raise UserError(f"model {model.name!r} is not built: call it once on an example, or give it an Input")
        if adapts is None or isinstance(adapts, str):
            adapts = adapts_part(adapts or "all", model)
        self.model = model
        self.adapted = [v for v in model.trainable_variables if adapts(v)]
        self.shared = [v for v in model.trainable_variables if not adapts(v)]
        self.state = list(model.non_trainable_variables)
        self._trainable = [(v, v.trainable) for v in self.adapted + self.shared + self.state]
        self._is_seed = [is_seed(v) for v in self.state]
        self._assigned: list[bool] | None = None  # which of the state the model assigns in a call
        if not self.adapted:
            raise UserError(f"the inner loop would adapt no trainable variable of model {model.name!r}")

    def __call__(self, adapted: list, shared: list, state: list, x: Any, training: bool = True) -> tuple:
        """Calls the model.

        Args:
            adapted, shared, state: lists of tensors in place of the variables of the same name.
            x: inputs of one task, [examples, ...] or a structure of them; or Known.
            training: passed to the model.

        Returns:
            (outputs, new state, sum of the losses that layers add).
        """
        with without_cudnn(sublayers(self.model)), self.scope(adapted, shared, state) as scope:
            if isinstance(x, Known):
                outputs = self._knowing([x.x, *x.moments], training=training)
            else:
                outputs = self.model(x, training=training)
            penalties = [tf.cast(penalty, self.dtype) for penalty in self.model.losses]
        if any(is_seed(variable) for variable in scope.others):
            raise UserError(
                f"model {self.model.name!r} draws random numbers from a seed that it does not hold, so that they would "
                "always be the same: let the layer keep a keras.random.SeedGenerator, and give keras.random that seed"
            )
        new_state = [tf.convert_to_tensor(scope.get_current_value(v)) for v in self.state]
        if training:
            self._assigned = [new is not old for new, old in zip(new_state, state, strict=True)]
        penalty = tf.add_n(penalties) if penalties else tf.zeros([], self.dtype)
        return checks.floats_as(outputs, self.dtype), new_state, penalty

    def scope(self, adapted: list, shared: list, state: list, through: bool = False) -> "Scope":
        """A context in which the model's variables have these values, lists as for a call; `through`: see `Scope`."""
        mapping = [*zip(self.adapted, adapted), *zip(self.shared, shared), *zip(self.state, state)]  # noqa: B905
        return Scope(through, state_mapping=mapping, collect_losses=not through)

    def check_trainable(self) -> None:
        """Raises UserError if weights were frozen or unfrozen since this object was made: it would not notice."""
        for variable, before in self._trainable:
            if variable.trainable != before:
                how = f"{'frozen' if before else 'unfrozen'} too late"
                raise UserError(f"{variable.path} was {how}: make the MAML or policy anew (MAMLModel: compile again)")

    @functools.cached_property
    def _first(self):
        """The only layer that reads the only input, if it takes moments of patches, and a model of later layers."""
        inputs = self.model.inputs if self.input_specs and len(self.input_specs) == 1 else []
        found = [layer for layer in self.model.layers if getattr(layer, "moments", None) == "patches"] if inputs else []
        first = next((layer for layer in found if layer.input is inputs[0]), None)
        try:
            return first and (first, keras.Model(first.output, self.model.output))
        except ValueError:  # other layers read the input too
            return None

    @functools.cached_property
    def _knowing(self):
        """The model with the moments as further inputs; it shares the model's layers and variables."""
        x, (first, rest) = self.model.inputs[0], self._first
        moments = [keras.Input(batch_shape=spec.shape, dtype=spec.dtype.name) for spec in self.moment_specs]
        return keras.Model([x, *moments], rest(first(x, *moments)))

    @property
    def moment_specs(self) -> tuple:
        """The tf.TensorSpec of `moments`; () where no layer takes moments."""
        if self._first is None:
            return ()
        size, dtype = 9 * self.model.inputs[0].shape[-1], self._first[0].variable_dtype
        return tf.TensorSpec([size], dtype), tf.TensorSpec([size, size], dtype)

    def moments(self, x: Any) -> tuple:
        """The moments in `Known` for one task's inputs x, so that they are computed once, not in each update."""
        return self._first[0].patch_moments(tf.cast(x, self._first[0].variable_dtype)) if self._first else ()

    @property
    def dtype(self) -> tf.DType:
        """The dtype of the weights and of the losses; under mixed precision the model computes in another."""
        return tf.as_dtype(self.adapted[0].dtype)

    @property
    def input_specs(self) -> list[tf.TensorSpec] | None:
        """List of the tf.TensorSpec of the model's inputs, [examples, ...]; None where it has no Input."""
        inputs = getattr(self.model, "inputs", None)
        return [tf.TensorSpec(t.shape, t.dtype) for t in inputs] if inputs else None

    @property
    def input_structure(self) -> Any:
        """`input_specs` in the structure that the model is called with; None where it has no Input."""
        specs = self.input_specs
        if specs is None or len(specs) == 1:
            return specs and specs[0]
        structure = getattr(self.model, "_inputs_struct", None)
        return specs if structure is None else tf.nest.pack_sequence_as(structure, specs)

    @property
    def built_on(self) -> Any:
        """`input_structure`; for a subclassed model, the tf.TensorSpec of what it was built on, or None."""
        shape = (self.model.get_build_config() or {}).get("input_shape")
        if self.input_structure is not None or not shape or not all(s is None or isinstance(s, int) for s in shape):
            return self.input_structure
        return tf.TensorSpec([None, *shape[1:]], self.model.input_dtype)

    @property
    def has_one_output(self) -> bool | None:
        """Whether the model gives one tensor; None where that is not known."""
        outputs = getattr(self.model, "outputs", None)
        return len(outputs) == 1 if outputs else None

    def inputs(self, value: Any, name: str, axis: int = 1) -> Any:
        """Inputs as tensors of the model's dtype, checked.

        Args:
            value: an array, nested numbers, or a structure of them where the model has several inputs.
            name: name of the inputs, for messages.
            axis: axis of the examples.

        Raises:
            UserError: they do not have the shapes that the model was built for.
        """
        specs = self.input_specs
        value = checks.tensors(value, self.dtype, single=None if specs is None else len(specs) == 1)
        checks.inputs(value, specs, name, axis)
        return value

    def targets(self, value: Any) -> Any:
        """Targets as tensors, floating-point ones in the model's dtype; value: as for `inputs`."""
        return checks.tensors(value, self.dtype, single=self.has_one_output)

    def tasks(self, tasks: Tasks) -> Tasks:
        """Tasks as tensors, from any form that `keras_data.as_tasks` takes; raises UserError as it and `inputs` do."""
        x, y, query_x, query_y = as_tasks(tasks)
        x, query_x = self.inputs(x, "support_x"), self.inputs(query_x, "query_x")
        checks.refuse_single_task(x, query_x, self.input_specs)
        return Tasks(x, self.targets(y), query_x, self.targets(query_y))

    def observe(self, x: Any) -> None:
        """Finds out, unless that is known, which state a call assigns; x: a task's inputs, or tf.TensorSpec of them."""
        if self._assigned is None:
            groups = [[tf.TensorSpec(v.shape, v.dtype) for v in g] for g in (self.adapted, self.shared, self.state)]
            x = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), x)
            traced(self, *groups, x)

    def after_adaptation(self, adapted: list, shared: list, state: list, support_x: Any) -> list:
        """The state for inductive predictions, with the support's statistics under the adapted weights.

        The inner loop leaves the statistics under the weights before its last update. They fit the adapted weights
        badly where updates are few and large: on Omniglot after one update, they cost a sixth of the accuracy.

        Args:
            adapted, shared, state: lists of tensors; the state is that after the inner loop.
            support_x: inputs of the support.

        Returns:
            A list of tensors; `state` itself where it holds no statistics.
        """
        return self(adapted, shared, state, support_x)[1] if self.statistics(state) else state

    def at_update(self, state: list, update: Any) -> list:
        """Returns state in which layers with an `update_index` have the index of the inner update that they serve."""
        indices = zip(state, self.state, strict=True)
        return [tf.cast(update, s.dtype) if is_update_index(v) else s for s, v in indices]

    def seeds_per_task(self, iteration: Any, num_tasks: Any) -> list[tf.Tensor]:
        """Seeds for random layers: a [num_tasks, 2] tensor for each seed among the state.

        They differ between tasks and iterations, or dropout would mask all tasks alike; each call advances them.
        """
        seeds = [tf.convert_to_tensor(v) for v, is_seed in zip(self.state, self._is_seed, strict=True) if is_seed]
        folded = [tf.random.experimental.stateless_fold_in(s, tf.cast(iteration, s.dtype)) for s in seeds]
        return [tf.random.experimental.stateless_split(s, num_tasks) for s in folded]

    def with_seeds(self, state: list, seeds: list) -> list:
        """Returns the state with its seeds replaced by those of one task."""
        left = iter(seeds)
        return [next(left) if is_seed else s for s, is_seed in zip(state, self._is_seed, strict=True)]

    def statistics(self, state: list) -> list:
        """The floating-point entries of a state that the model assigns: normalisation statistics.

        It leaves out seeds and counters; and frozen weights and other constants, since their mean over tasks would not
        be the same to the last bit.
        """
        assigned = self._assigned or [True] * len(self.state)
        entries = zip(state, self.state, assigned, strict=True)
        return [s for s, v, is_assigned in entries if is_assigned and tf.as_dtype(v.dtype).is_floating]

    def assign_statistics(self, statistics: list) -> None:
        """Assigns to the model's variables the values of the entries that `statistics` selects."""
        for variable, value in zip(self.statistics(self.state), statistics, strict=True):
            variable.assign(value)


class Scope(keras.StatelessScope):
    """A StatelessScope that notes in `others` which variables are assigned that are not in its mapping.

    Args:
        through: whether these are assigned in fact, as without a scope.
        settings: arguments of StatelessScope.
    """

    def __init__(self, through: bool = False, **settings: Any):
        super().__init__(**settings)
        self.through = through
        self.others: list[keras.Variable] = []

    def get_current_value(self, variable: keras.Variable) -> Any:
        """The value of a variable; with `through`, also of one that is not in the mapping."""
        value = super().get_current_value(variable)
        return variable._value if value is None and self.through else value

    def add_update(self, update: tuple) -> None:
        """Keeps the new value of a variable."""
        variable, value = update
        is_other = id(variable) not in self.state_mapping
        if is_other and self.through:
            variable._direct_assign(value)
            return
        self.others += [variable] if is_other else []
        super().add_update(update)


def is_update_index(variable: keras.Variable) -> bool:
    """Whether a variable of a layer's state holds the index of the inner update that the layer serves."""
    return variable.path.endswith("/update_index")


def is_seed(variable: keras.Variable) -> bool:
    """Whether a variable of a layer's state is the seed of its random numbers."""
    return variable.path.endswith("seed_generator_state")
