"""Serves one task at a time: adaptation and predictions, traced once for any number of examples and updates.

`adapted_model` returns the adapted model as an ordinary keras.Model.
"""

from tempfile import TemporaryDirectory
from typing import Any

from data_generators.errors import UserError, first_line
from maml_tf import checks, step_sizes
from maml_tf.backend import keras, tf
from maml_tf.layers import BatchNorm, Conv2D
from maml_tf.parts import sublayers
from maml_tf.saving import with_assets
from maml_tf.task_axis import MAP, Compiler
from maml_tf.task_learner import Adapted


class Server:
    """Implements `adapt` and `predict` of a MAML, with the same arguments and results.

    Args:
        maml: MAML.
    """

    def __init__(self, maml: Any):
        self._maml = maml
        self._compiler = Compiler(MAP, jit=False)  # XLA cannot compile for any number of examples

    def adapt(self, x: Any, y: Any, num_updates: int | None, step_size: Any) -> Adapted:
        """See `MAML.adapt`."""
        maml = self._maml
        maml.pure.check_trainable()
        num_updates = maml.num_updates if num_updates is None else checks.count(num_updates, "num_updates", 0)
        x, y = maml.pure.inputs(x, "x", axis=0), maml.pure.targets(y)
        checks.support(x, y)

        def graph(x, y, num_updates, step_size=None):
            return maml.learner.adapted(maml.start(step_size), x, y, num_updates)

        # An argument even if it is the step size of training, so that one graph serves all; learned step sizes are not.
        step_size = maml.step_size if step_size is None and not maml.step_sizes else step_size
        settings = num_updates, step_sizes.given(step_size, num_updates, maml.dtype)
        settings = tf.nest.map_structure(tf.convert_to_tensor, settings if step_size is not None else settings[:1])
        specs = checks.any_number(x, maml.pure.input_specs), checks.any_number(y), *map(checks.specs, settings)
        return self._compiler.call_as(specs, "adapt", graph, x, y, *settings)

    def predict(self, x: Any, adapted: Adapted | None, transductive: bool) -> Any:
        """See `MAML.predict`."""
        maml, start = self._maml, self._maml.start()
        params, state = adapted or (start.params, start.state)

        def graph(x, params, state):
            return maml.pure(params, maml.start().shared, state, x, training=transductive)[0]

        x = maml.pure.inputs(x, "x", axis=0)
        specs = checks.any_number(x, maml.pure.input_specs), checks.specs(params), checks.specs(state)
        return self._compiler.call_as(specs, ("predict", transductive), graph, x, params, state)


def adapted_model(
    maml: Any, support_x: Any, support_y: Any, num_updates: int | None = None, step_size: Any = None
) -> keras.Model:
    """Returns a separate model with the weights that adaptation to one task gives; the meta-learner does not change.

    `model(x)` and `model.predict(x)` give `maml.predict(x, maml.adapt(...))`: the output for one example does not
    depend on the others. `model.save("task.keras")` saves the model. A program that loads it must import
    `maml_tf.layers` first if the model has layers of this library.

    Args:
        maml: MAML.
        support_x, support_y, num_updates, step_size: as for `MAML.adapt`.

    Returns:
        A keras.Model of the same class and layers as the meta-learner's, not compiled.

    Raises:
        UserError: Keras cannot make a second model like it.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> maml, x, y = MAML(model, "mse", step_size=0.1), np.ones((5, 1)), np.zeros((5, 1))
        >>> adapted = maml.adapted_model(x, y, num_updates=3)
        >>> bool(np.all(adapted.predict(x, verbose=0) == maml.predict(x, maml.adapt(x, y, num_updates=3))))
        True
    """
    fast = maml.adapt(support_x, support_y, num_updates, step_size)
    model = _second(maml.model, maml.pure.inputs(support_x, "x", axis=0))
    for layer in sublayers(model):
        if isinstance(layer, BatchNorm):
            layer.inductive, layer.normalised = True, False
        elif isinstance(layer, Conv2D):
            layer.normalise = None
    values = {id(v): v for v in maml.pure.shared}
    values |= {id(v): value for v, value in zip(maml.pure.adapted, fast.params, strict=True)}
    values |= {id(v): value for v, value in zip(maml.pure.state, fast.state, strict=True)}
    for variable, own in zip(model.variables, maml.model.variables, strict=True):
        variable.assign(values[id(own)])
    for layer in sublayers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # its call uses values that this computes from the variables
    return model


def _held(layer):
    """What a layer saves by `save_own_variables`, by name."""
    store: dict = {}
    layer.save_own_variables(store)
    return store


def _second(model, x):
    """Makes a second model like a given one, with its own variables; x: inputs."""
    try:
        second = keras.models.clone_model(model)
        for own, layer in zip(with_assets(model), with_assets(second), strict=True):
            layer.load_own_variables(_held(own))
            with TemporaryDirectory() as assets:
                own.save_assets(assets)
                layer.load_assets(assets)
        second(x, training=False)  # this makes the variables of a model without an Input
    except Exception as error:  # the code of a user's class may raise anything
        raise UserError(
            f"Keras cannot clone model {model.name!r} ({first_line(error)}): give its class, and those of its layers, "
            "a get_config from which from_config makes another"
        ) from error
    return second
