"""Finds layers whose second derivatives TensorFlow does not have, or silently computes wrong.

Second-order MAML differentiates the inner gradient. That goes wrong where an operation of the gradient has no
registered derivative, or is declared to have none, as the gradient of bilinear resizing is. It also goes wrong where a
`stop_gradient` leaves the first derivative right and makes the second wrong, as around the mean in `tf.nn.moments`, or
around the singular vectors in spectral normalisation. A `stop_gradient` that changes the first derivative is intended
by its author, and one around the maximum in a softmax changes neither.

So the inner gradient of one task is traced, which computes nothing, and TensorFlow is watched as it differentiates it.
Only a `stop_gradient` is judged by numbers: the derivatives with it are compared to those without.
"""

import functools
import itertools
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from data_generators.errors import UserError
from maml_tf import layers as own_layers
from maml_tf.backend import keras, tf
from maml_tf.derivative_watch import Watch
from maml_tf.graphs import traced
from maml_tf.parts import only_layers, sublayers
from maml_tf.pure_model import PureModel

_EXAMPLES, _LENGTH = 4, 8  # sizes for open dimensions of the inputs: the first, and others
_PASSES_TO_SETTLE = 100, 400
_SETTLED = 0.03  # the part of a first derivative's error that may be left in a settled state
_ROUNDING = {"float64": 2**-52, "float32": 2**-23, "float16": 2**-10, "bfloat16": 2**-7}
_ONE_AT_A_TIME = threading.Lock()


class Finding(NamedTuple):
    """A layer whose second derivative is missing or wrong in TensorFlow.

    layer, kind: its name and that of its class; both empty for the loss.
    operation: the type of the operation at fault.
    raises: whether TensorFlow raises LookupError; otherwise the meta-gradient is silently wrong.
    order: order of the lowest derivative at fault: 2, or 1 where the inner gradient itself raises.
    """

    layer: str
    kind: str
    operation: str
    raises: bool
    order: int = 2


def find(objective: Callable, adapted: list, shared: list, state: list, inputs: list, layers: list) -> list[Finding]:
    """Finds the layers through which the second derivative of one task's inner loss goes wrong.

    Args:
        objective: function (adapted, shared, state, *inputs) -> (scalar, new state), of lists of tensors.
        adapted, shared, state: lists of variables or tensors to call it with. The inner gradient is by `adapted`; the
            meta-gradient differentiates it by `adapted` and `shared`.
        inputs: list of objects with a dtype and a shape, whose dimensions may be None, such as tf.TensorSpec; or of
            structures of them. Numbers are needed only to judge a `stop_gradient`; where an object has none, they are
            made up.
        layers: layers of the model, nested ones included.

    Returns:
        A list of Finding, one for each layer and operation: those of the loss, then in the order of the layers.
    """
    # Not `tf.init_scope`, under which a layer's own GradientTape would record nothing.
    with _ONE_AT_A_TIME, tf.__internal__.eager_context.eager_mode():
        return _Search(objective, [list(adapted), list(shared), list(state)], list(inputs), list(layers)).findings()


def check(pure: PureModel, inputs: Any, stacklevel: int) -> bool:
    """Finds out whether a model can be differentiated twice, as second-order MAML must.

    Args:
        pure: PureModel.
        inputs: inputs of one task: a structure of objects with a shape and a dtype.
        stacklevel: stack level of the warnings, counted from the caller.

    Returns:
        Whether this could be found out: not every model can be traced for any number of examples.

    Raises:
        UserError: TensorFlow has no second derivative of a layer, and would raise an error in the middle of training.

    Warns:
        UserWarning: for each layer whose second derivative is wrong.
    """
    layers = list(sublayers(pure.model))
    if all(map(_is_known_to_be_right, layers)):
        return True

    def objective(adapted, shared, state, x):
        outputs, state, _ = pure(adapted, shared, state, x)
        return stand_in_loss(outputs), state

    try:
        findings = find(objective, pure.adapted, pure.shared, pure.state, [inputs], layers)
    except Exception:  # the model may raise anything; if it is wrong, training shows it
        return False
    for finding in sorted(findings, key=lambda finding: not finding.raises):
        if finding.raises:
            raise UserError(sentence(finding))
        warnings.warn(sentence(finding), stacklevel=stacklevel + 1)
    return True


def _is_known_to_be_right(layer):
    """Whether a layer needs no tracing: those of this project's networks, which tests check by finite differences."""
    activation = getattr(layer, "activation", None)
    return type(layer) in own_layers.CHECKED and activation in (None, *_SMOOTH) and only_layers(layer)


_SMOOTH = (keras.activations.linear, keras.activations.relu, keras.activations.tanh, keras.activations.sigmoid)


def stand_in_loss(outputs: Any) -> tf.Tensor:
    """A loss none of whose derivatives vanish, for use where the real loss or its targets are not known yet.

    Args:
        outputs: outputs of a model; a tensor or any structure of tensors.

    Returns:
        A scalar: the sum of their mean squared distances from fixed noise.
    """
    floats = [t for t in tf.nest.flatten(outputs) if t.dtype.is_floating]
    noise = [tf.random.stateless_normal(tf.shape(t), (0, i), dtype=t.dtype) for i, t in enumerate(floats)]
    distances = [tf.reduce_mean(tf.square(t - n)) for t, n in zip(floats, noise, strict=True)]
    return tf.add_n([tf.cast(d, distances[0].dtype) for d in distances])


def sentence(finding: Finding) -> str:
    """Says what is wrong, in which layer, and what helps."""
    where = f"layer {finding.layer!r} ({finding.kind})" if finding.layer else "the loss"
    if finding.order == 1:
        return f"{where} has no derivative in TensorFlow ({finding.operation}), so nothing can be learned through it"
    if finding.raises:
        wrong = f"has no second derivative in TensorFlow ({finding.operation}), so second-order training fails"
    else:
        wrong = (
            f"has wrong second derivatives in TensorFlow ({finding.operation}), so the second-order meta-gradient will "
            "be wrong"
        )
    return f"{where} {wrong}: use {_remedy(finding)}, or first_order=True"


def _remedy(finding):
    if re.match("(Batch|Layer|Group)Normalization", finding.kind):
        return "maml_tf.layers.BatchNorm, or LayerNorm (over all axes but the first), in its place"
    if finding.operation.startswith("Resize"):
        return 'UpSampling2D(interpolation="nearest") in its place'
    if finding.operation.startswith("Cudnn"):
        return "use_cudnn=False in it"
    if finding.operation == "SoftsignGrad":
        return "another activation"
    return "another layer in its place" if finding.layer else "another one"


class _Search:
    """One call of `find`."""

    def __init__(self, objective, variables, inputs, layers):
        self.objective, self.variables, self.inputs, self.layers = objective, variables, inputs, layers
        self.specs = tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape, v.dtype), [*variables, inputs])
        # A relative difference beyond this is not rounding: half of the digits.
        dtypes = {layer.compute_dtype for layer in layers} | {tf.as_dtype(v.dtype).name for v in variables[0]}
        self.tolerance = max(_ROUNDING.get(dtype, 0) for dtype in dtypes) ** 0.5

    def findings(self):
        watch = Watch()
        derivatives = self._traced(watch)
        found = {(site, fault.raises, fault.order) for site, fault in watch.faults.items()}
        found |= {(site, False, 2) for site in self._wrongly_stopped(watch.stopped, derivatives)}
        return list(dict.fromkeys(self._finding(*one) for one in sorted(found)))

    def _finding(self, site, raises, order):
        return Finding(*self._layer(site), site.operation, raises, order)

    def _layer(self, site):
        """Name and class name of a site's layer."""
        if site.layer < 0:
            return "", ""
        return self.layers[site.layer].name, type(self.layers[site.layer]).__name__

    def _traced(self, watch):
        """Traces the inner gradient and, if anything in it is suspicious, its derivative.

        Returns:
            A function of arguments like `specs` that computes (list of first derivatives, list of second derivatives).
        """

        def derivatives(adapted, shared, state, inputs):
            with watch.forward_pass(self.layers):
                loss, _ = self.objective(adapted, shared, state, *inputs)
            with watch.derivative(1):
                first = _gradients(loss, adapted)
            if not watch.suspects(adapted + shared):
                return first, []
            ways = [tf.random.stateless_normal(g.shape, (0, i), dtype=g.dtype) for i, g in enumerate(first)]
            slope = tf.add_n([tf.reduce_sum(tf.cast(w * g, loss.dtype)) for w, g in zip(ways, first, strict=True)])
            with watch.derivative(2):
                return first, _gradients(slope, adapted + shared)

        return traced(derivatives, *self.specs)

    def _wrongly_stopped(self, sites, derivatives):
        """The sites whose `stop_gradient` leaves the first derivative as it is and changes the second.

        All sites in layers of one kind are judged at once, which takes one more tracing. If they change the first
        derivative, this may be intended in one line of the layer's code and not in another, so smaller groups are
        judged next.
        """
        wrong, groups = [], _grouped(sites, lambda site: self._layer(site)[1])
        while groups:
            group = groups.pop()
            verdict = self._is_wrong(group, derivatives)
            if verdict:
                wrong += group
            elif verdict is None:
                splits = (_grouped(group, key) for key in (lambda site: site.name, lambda site: site.layer))
                groups += next((parts for parts in splits if len(parts) > 1), [])
        return wrong

    def _is_wrong(self, sites, derivatives):
        """Whether `stop_gradient` at these sites makes the second derivative wrong; None if it changes the first.

        True where the model cannot compute with the made-up numbers: a needless warning is better than none.
        """
        passed = self._traced(Watch(passing=frozenset(sites)))
        gaps = []
        try:
            for arguments in self._arguments(sites):
                (first, second), (true_first, true_second) = derivatives(*arguments), passed(*arguments)
                gaps.append(_gap(first, true_first))
                unchanged = max(self.tolerance, gaps[0] * _SETTLED * (len(gaps) > 1))
                if not gaps[-1] > unchanged:
                    return not _gap(second, true_second) <= self.tolerance
        except tf.errors.OpError:
            return True
        return None

    def _arguments(self, sites):
        """Yields arguments at which to compare: weights near those given, and inputs of the right shape.

        If the layers of the sites have a state, also arguments with a settled state: a spectral norm needs many passes
        until its singular vectors are those of the weights and its first derivative is right.
        """
        rng = np.random.default_rng(0)
        adapted, shared, state = ([tf.convert_to_tensor(v) for v in group] for group in self.variables)
        adapted, shared = ([_near(w, rng) for w in group] for group in (adapted, shared))
        inputs = tf.nest.map_structure(functools.partial(_numbers, rng=rng), self.inputs)
        yield adapted, shared, state, inputs
        owners = {site.layer for site in sites if site.layer >= 0}
        if any(
            tf.as_dtype(v.dtype).is_floating for owner in owners for v in self.layers[owner].non_trainable_variables
        ):
            settled = tf.function(lambda *arguments: self.objective(*arguments)[1], autograph=False)
            for passes in _PASSES_TO_SETTLE:
                for _ in range(passes):
                    state = settled(adapted, shared, state, *inputs)
                yield adapted, shared, state, inputs


def _gap(actual, expected):
    """The relative distance between lists of tensors."""
    actual, expected = (np.concatenate([np.ravel(t).astype("float64") for t in ts]) for ts in (actual, expected))
    return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300)


def _gradients(value, weights):
    gradients = tf.gradients(value, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in gradients]


def _grouped(sites, key):
    return [list(group) for _, group in itertools.groupby(sorted(sites, key=lambda site: (key(site), site)), key)]


def _near(weight, rng):
    """A weight plus some noise, since derivatives may vanish at an initialisation of zeros."""
    fan_in = np.prod(weight.shape[:-1], dtype=int)
    noise = 0.5 * rng.normal(size=weight.shape) / np.sqrt(max(fan_in, 1))
    return weight + tf.cast(noise, weight.dtype)


def _numbers(given, rng):
    """The given numbers of an input, or made-up ones: normal floats, or integers 0 and 1, which any embedding knows."""
    if isinstance(given, np.ndarray) or hasattr(given, "numpy"):
        return tf.convert_to_tensor(given)
    lengths = [_EXAMPLES, *[_LENGTH] * len(given.shape)]
    shape = [default if length is None else length for default, length in zip(lengths, given.shape, strict=False)]
    dtype = tf.as_dtype(given.dtype)
    return tf.cast(rng.normal(size=shape) if dtype.is_floating else rng.integers(2, size=shape), dtype)
