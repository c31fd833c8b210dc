"""The signatures of an exported model: pure functions of named tensors, with checks of their arguments.

The checks are part of the graph, so they hold wherever the model is loaded.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from maml_tf.backend import keras, tf
from maml_tf.losses import SoftmaxCrossEntropy
from maml_tf.step_sizes import PER_UPDATE, PER_WEIGHT


def shaped(value: tf.Tensor, spec: tf.TensorSpec, name: str) -> tf.Tensor:
    """Returns an argument; the graph fails when run if its shape does not fit `spec`, or if it is not finite.

    The error for the shape names both shapes. A NaN would not show in the output: TensorFlow's fused ReLU turns it into
    a number.

    Python compares the shapes of arguments itself, but a server need not. TensorFlow would optimise away a check that
    cannot fail according to the signature, so the signature's shape is removed first.
    """
    value = tf.raw_ops.PlaceholderWithDefault(input=value, shape=tf.TensorShape(None), name=name)
    return finite(tf.ensure_shape(value, spec.shape), name)


def finite(value: tf.Tensor, name: str) -> tf.Tensor:
    """Returns an argument; the graph fails when run if the argument holds a NaN or an infinity."""
    return tf.debugging.check_numerics(value, f"{name} must be finite") if value.dtype.is_floating else value


def equally_many(values: Sequence[tf.Tensor], empty: str, unequal: str) -> list[tf.Tensor]:
    """Returns arguments; the graph fails when run if the sizes of their first axes are 0 or differ.

    The returned tensors wait for the checks. TensorFlow runs independent operations in any order, so an operation that
    needs equal sizes could otherwise fail before the check, with a message that names no argument.

    Args:
        values: tensors with at least one axis.
        empty: message for a size of 0.
        unequal: message for sizes that differ.
    """
    number, *others = (tf.shape(value)[0] for value in values)
    checks = [tf.debugging.assert_positive(number, empty)]
    checks += [tf.debugging.assert_equal(other, number, unequal) for other in others]
    with tf.control_dependencies(checks):
        return [tf.identity(value) for value in values]


def at_least_one(value: tf.Tensor, name: str) -> tf.Tensor:
    """Returns a scalar argument; the graph fails when run if it is less than 1."""
    assertion = tf.debugging.assert_positive(value, f"{name} must be a scalar of at least 1")
    with tf.control_dependencies([assertion]):
        return tf.identity(value)


def text(spec: tf.TensorSpec, axis: str = "examples") -> str:
    """The shape of a spec as messages show it: [examples, 28, 28, 1]; "any" is another axis of any size."""
    sizes = ["any" if size is None else str(size) for size in spec.shape]
    if sizes and sizes[0] == "any":
        sizes[0] = axis
    return f"[{', '.join(sizes)}]"


class Signatures:
    """The signatures of a model that learns from labelled examples.

    Each signature is a method; `all` lists them. The first axis of inputs, labels and outputs is that of the examples.
    There may be any number of examples.

    A server that merges requests along their first axis would merge two support sets into one. So `adapt_and_predict`
    also returns a scalar, the number of support examples: such a server refuses outputs that it cannot split again.

    Args:
        maml: MAML. If its loss is SoftmaxCrossEntropy, the divisor comes from the given support set, whatever its
            `shots`.
        transductive: whether to normalise queries by their own batch statistics; otherwise by the support's.
        inputs: tf.TensorSpec of the model's inputs, [examples, ...].
        targets: tf.TensorSpec of the loss's targets, [examples, ...].
    """

    def __init__(self, maml: Any, transductive: bool, inputs: tf.TensorSpec, targets: tf.TensorSpec):
        loss = SoftmaxCrossEntropy() if isinstance(maml.loss, SoftmaxCrossEntropy) else maml.loss
        self._learner = maml.learner._replace(loss=loss, first_order=False)
        self._maml, self._transductive = maml, transductive
        self._inputs, self._targets = inputs, targets
        self._params = named_specs(maml.pure.adapted, {"inputs"})
        self._state = named_specs(maml.pure.state, {"inputs", *(spec.name for spec in self._params)})

    @property
    def weight_names(self) -> list[str]:
        """The names of the adapted weights, in the order of learned step sizes."""
        return [spec.name for spec in self._params]

    @property
    def state_names(self) -> list[str]:
        """The names of the state that adaptation changes: normalisation statistics, and seeds of random layers."""
        return [spec.name for spec in self._state]

    def all(self) -> dict[str, tuple[Callable, list]]:
        """Returns a dict of all signatures, name -> (function, list of the tf.TensorSpec of its arguments)."""
        support = [_spec(self._inputs, "support_inputs"), _spec(self._targets, "support_labels")]
        query, inputs = _spec(self._inputs, "query_inputs"), _spec(self._inputs, "inputs")
        dtype = self._params[0].dtype
        one_for_each = self._maml.learn_step_size not in (False, PER_UPDATE, PER_WEIGHT)
        step_size = tf.TensorSpec([len(self._params)] if one_for_each else [], dtype, "step_size")
        settings = [step_size, tf.TensorSpec([], tf.int32, "num_updates")]
        adapted = {spec.name: spec for spec in self._params + self._state}
        arguments = {
            "predict": [inputs],
            "adapt_and_predict": [*support, query],
            "adapt_and_predict_with": [*support, query, *settings],
            "adapt": support,
            "adapt_with": [*support, *settings],
            "predict_with": [inputs, adapted],
        }
        return {name: (getattr(self, name), specs) for name, specs in arguments.items()}

    def predict(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of the initial weights."""
        inputs = shaped(inputs, self._inputs, "inputs")
        return {"outputs": self._predict(self._maml.start(), inputs)}

    def adapt_and_predict(
        self, support_inputs: tf.Tensor, support_labels: tf.Tensor, query_inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns outputs for the queries after adaptation to the support, as in training."""
        return self._adapt_and_predict(support_inputs, support_labels, query_inputs)

    def adapt_and_predict_with(
        self,
        support_inputs: tf.Tensor,
        support_labels: tf.Tensor,
        query_inputs: tf.Tensor,
        step_size: tf.Tensor,
        num_updates: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Does `adapt_and_predict` with another step size and number of updates."""
        return self._adapt_and_predict(support_inputs, support_labels, query_inputs, step_size, num_updates)

    def adapt(self, support_inputs: tf.Tensor, support_labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the weights and state after adaptation to the support, as in training."""
        return self._named(self._adapt(support_inputs, support_labels))

    def adapt_with(
        self, support_inputs: tf.Tensor, support_labels: tf.Tensor, step_size: tf.Tensor, num_updates: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Does `adapt` with another step size and number of updates."""
        return self._named(self._adapt(support_inputs, support_labels, step_size, num_updates))

    def predict_with(self, inputs: tf.Tensor, adapted: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns outputs of the network with the weights and state that `adapt` returned."""
        inputs = shaped(inputs, self._inputs, "inputs")
        params, state = (
            [shaped(adapted[spec.name], spec, spec.name) for spec in specs] for specs in (self._params, self._state)
        )
        return {"outputs": self._predict(self._maml.start()._replace(params=params, state=state), inputs)}

    def _adapt_and_predict(self, support_inputs, support_labels, query_inputs, *settings):
        query_inputs = shaped(query_inputs, self._inputs, "query_inputs")
        params, state = self._adapt(support_inputs, support_labels, *settings)
        query_outputs = self._predict(self._maml.start()._replace(params=params, state=state), query_inputs)
        return {"query_outputs": query_outputs, "support_examples": tf.shape(support_inputs)[0]}

    def _adapt(self, support_inputs, support_labels, step_size=None, num_updates=None):
        support_inputs = shaped(support_inputs, self._inputs, "support_inputs")
        support_labels = shaped(support_labels, self._targets, "support_labels")
        support_inputs, support_labels = self._equally_many(support_inputs, support_labels)
        if num_updates is not None:
            num_updates = at_least_one(num_updates, "num_updates")
            step_size = finite(step_size, "step_size")
            step_size = tf.unstack(step_size) if step_size.shape.rank else step_size
        # A tensor even where the number is known, so that the graph holds one update rather than all.
        num_updates = tf.constant(self._maml.num_updates) if num_updates is None else num_updates
        return self._learner.adapted(self._maml.start(step_size), support_inputs, support_labels, num_updates)

    def _equally_many(self, *support):
        expected = f"expected support_inputs {text(self._inputs)} and support_labels {text(self._targets)}"
        empty = f"the support is empty: {expected}, with at least one example"
        return equally_many(support, empty, f"{expected}, with as many labels as inputs")

    def _predict(self, start, inputs):
        pure = self._learner.model
        return pure(start.params, start.shared, start.state, inputs, training=self._transductive)[0]

    def _named(self, adapted):
        params, state = adapted
        return dict(zip([*self.weight_names, *self.state_names], [*params, *state], strict=True))


def named_specs(variables: Iterable[keras.Variable], taken: Iterable[str]) -> list[tf.TensorSpec]:
    """Specs of variables, named by their paths: conv1/kernel becomes conv1_kernel; taken names get a number."""
    taken, specs = set(taken), []
    for variable in variables:
        stem = name = re.sub(r"\W+", "_", variable.path).strip("_")
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        specs.append(tf.TensorSpec(variable.shape, variable.dtype, name))
    return specs


def _spec(spec, name):
    return tf.TensorSpec(spec.shape, spec.dtype, name)
