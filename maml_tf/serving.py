"""What serves one task at a time: adaptation and predictions, traced once for any number of examples and updates."""

from typing import Any

import tensorflow as tf

from maml_tf import checks, step_sizes
from maml_tf.task_axis import MAP, Compiler
from maml_tf.task_learner import Adapted


class Server:
    """The methods `adapt` and `predict` of a MAML, whose arguments and results are theirs.

    Args:
        maml: MAML.
    """

    def __init__(self, maml: Any):
        self._maml = maml
        self._compiler = Compiler(MAP, jit=False)  # XLA could not take any number of examples

    def adapt(self, x: Any, y: Any, num_updates: int | None, step_size: Any) -> Adapted:
        """See `MAML.adapt`."""
        maml = self._maml
        num_updates = maml.num_updates if num_updates is None else checks.count(num_updates, "num_updates", 0)
        x, y = maml.pure.inputs(x, "x", axis=0), maml.pure.targets(y)
        checks.support(x, y)

        def graph(x, y, num_updates, step_size=None):
            return maml.learner.adapted(maml.start(step_size), x, y, num_updates)

        # As an argument, even if it is that of training, so that one graph serves all; but for learned ones.
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
