"""The Gaussian policy: a Keras model that gives mean and logarithm of the standard deviation of the action."""

import contextlib
import importlib.util
import math
import sys
from collections.abc import Sequence

import tensorflow as tf

from maml_tf.backend import keras
from maml_tf.pure_model import PureModel


@contextlib.contextmanager
def _looked_into(*packages):
    """While entered, modules of these packages can be imported without running the packages' own __init__.py.

    Afterwards the packages are removed from sys.modules, so that a later import loads them whole; the modules that were
    imported stay the same.
    """
    if packages[0] in sys.modules or importlib.util.find_spec(packages[0]) is None:
        packages = ()
    try:
        for name in packages:
            sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name))
        yield
    finally:
        for name in packages:
            sys.modules.pop(name, None)


_TFP = "tensorflow_probability"
# Their __init__.py would load a thousand more modules, among them the older tf_keras, which takes a second.
with _looked_into(_TFP, *(f"{_TFP}.python{name}" for name in ("", ".distributions", ".bijectors", ".math"))):
    from tensorflow_probability.python.distributions.independent import Independent
    from tensorflow_probability.python.distributions.normal import Normal

LOG_STD_FLOOR = math.log(1e-6)

Params = list[tf.Tensor]


@keras.saving.register_keras_serializable(package="rl")
class LogStd(keras.layers.Layer):
    """A log standard deviation per action dimension that does not depend on the state; starts at 0.

    Call arguments:
        means: [batch, act_dim]; only act_dim is used.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.log_std = self.add_weight(name="log_std", shape=(input_shape[-1],), initializer="zeros")

    def call(self, means: tf.Tensor) -> tf.Tensor:
        return tf.maximum(self.log_std, tf.constant(LOG_STD_FLOOR, self.log_std.dtype))


def gaussian_mlp(
    obs_dim: int,
    act_dim: int,
    hidden: Sequence[int] = (100, 100),
    nonlinearity: str = "relu",
    seed: int | None = None,
    dtype: str = "float32",
) -> keras.Model:
    """The original's policy network; Xavier-uniform weights, zero biases.

    Args:
        obs_dim, act_dim: sizes of observation and action.
        hidden: units per hidden layer.
        nonlinearity: "relu" or "tanh".
        seed: seed of the initial weights; default: a random one.
        dtype: dtype of weights and computation.

    Returns:
        A built keras.Model, [batch, obs_dim] -> (means [batch, act_dim], log_std [act_dim]). Its variables are in the
        order W0, b0, W1, b1, ..., log_std.
    """
    x = inputs = keras.Input((obs_dim,), dtype=dtype)
    for i, units in enumerate((*hidden, act_dim)):
        name, activation = (f"dense{i}", nonlinearity) if i < len(hidden) else ("means", None)
        initializer = keras.initializers.GlorotUniform(None if seed is None else seed + i)
        x = keras.layers.Dense(units, activation, kernel_initializer=initializer, name=name, dtype=dtype)(x)
    return keras.Model(inputs, (x, LogStd(name="log_std", dtype=dtype)(x)), name="gaussian_mlp")


def is_head(variable: keras.Variable) -> bool:
    """Whether a variable of `gaussian_mlp` belongs to its output layer or is log_std; these are its last variables."""
    return variable.path.startswith(("means/", "log_std/"))


def gaussian(means: tf.Tensor, log_std: tf.Tensor) -> Independent:
    """The distribution of actions.

    Args:
        means: [..., act_dim].
        log_std: [act_dim] or [..., act_dim].

    Returns:
        A TensorFlow Probability distribution with events [act_dim].
    """
    return Independent(Normal(means, tf.exp(log_std)), reinterpreted_batch_ndims=1)


def log_prob(means: tf.Tensor, log_std: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """`gaussian(means, log_std).log_prob(actions)` with fewer operations, because every pass differentiates them twice.

    Args:
        means, actions: [..., act_dim].
        log_std: [act_dim] or [..., act_dim].

    Returns:
        [...].
    """
    constant = 0.5 * means.shape[-1] * math.log(2 * math.pi) + tf.reduce_sum(log_std, axis=-1)
    return -0.5 * _weighted_sum(tf.square(actions - means), tf.exp(-2 * log_std)) - constant


def _weighted_sum(values, weights):
    """Weighted sum over the last axis; a matrix product if weights is one vector, since broadcasting is far slower."""
    if weights.shape.rank == 1 and values.shape.rank > 1:
        return tf.linalg.matvec(values, weights)
    return tf.reduce_sum(values * weights, axis=-1)


def kl_divergence(old_means: tf.Tensor, old_log_std: tf.Tensor, means: tf.Tensor, log_std: tf.Tensor) -> tf.Tensor:
    """KL(old || new) of diagonal Gaussians by rllab's formula, whose denominator is 2 std^2 + 1e-8.

    TensorFlow Probability's formula has no 1e-8, so it differs where a standard deviation is small.

    Args:
        old_means, means: [..., act_dim].
        old_log_std, log_std: [act_dim] or [..., act_dim].

    Returns:
        [...].
    """
    old_variance, variance = tf.exp(2 * old_log_std), tf.exp(2 * log_std)
    denominator = 2 * variance + 1e-8
    of_std = tf.reduce_sum((old_variance - variance) / denominator + log_std - old_log_std, axis=-1)
    return _weighted_sum(tf.square(old_means - means), 1 / denominator) + of_std


class GaussianPolicy:
    """A policy model as a pure function of its parameters, for one task or for tasks that each have their own.

    Args:
        model: keras.Model from `gaussian_mlp`.
        head_only: whether inner updates change only the output layer and log_std (ANIL: Raghu et al. 2020), not all
            parameters. The other parameters are then only meta-learned.

    Attributes:
        variables: all trainable variables; those that inner updates do not change come first.
        num_fixed: number of variables that inner updates do not change.
    """

    def __init__(self, model: keras.Model, head_only: bool = False):
        self.model = model
        self.pure = PureModel(model, is_head if head_only else None)
        self.variables = [*self.pure.shared, *self.pure.adapted]
        self.num_fixed = len(self.pure.shared)
        self.shapes = [tuple(v.shape) for v in self.variables]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.dtype = tf.as_dtype(self.variables[0].dtype)
        self.act = tf.function(self._act, autograph=False)

    def __call__(self, params: Params, observations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The distribution's parameters for one task.

        Args:
            params: list of tensors in the order of `variables`.
            observations: [samples, obs_dim].

        Returns:
            (means [samples, act_dim], log_std [act_dim]).
        """
        outputs, _, _ = self.pure(params[self.num_fixed :], params[: self.num_fixed], [], observations)
        return outputs

    def _act(self, params, observations):
        """Means for a batch of tasks, compiled: a batched matrix product per layer.

        Args:
            params: list of tensors with a leading task axis.
            observations: [tasks, trajectories, obs_dim].

        Returns:
            [tasks, trajectories, act_dim].
        """
        return tf.vectorized_map(lambda task: self(*task)[0], (params, observations), fallback_to_while_loop=False)

    @staticmethod
    def log_std(params: Params) -> tf.Tensor:
        """log_std, at least LOG_STD_FLOOR, from parameters with or without a task axis."""
        return tf.maximum(params[-1], tf.constant(LOG_STD_FLOOR, params[-1].dtype))

    def params(self) -> Params:
        """The current parameters, as tensors."""
        return [tf.convert_to_tensor(v) for v in self.variables]

    def stacked(self, num_tasks: int) -> Params:
        """The current parameters, one copy per task: tensors [num_tasks, ...]."""
        return [tf.repeat(p[None], num_tasks, axis=0) for p in self.params()]

    def flat(self) -> tf.Tensor:
        """The current parameters, as one vector [parameters]."""
        return tf.concat([tf.reshape(p, [-1]) for p in self.params()], axis=0)

    def unflatten(self, theta: tf.Tensor) -> Params:
        """Converts a vector [parameters] to the list of parameters."""
        return [tf.reshape(p, shape) for p, shape in zip(tf.split(theta, self.sizes), self.shapes, strict=True)]

    def assign(self, theta: tf.Tensor) -> None:
        """Sets the parameters from a vector [parameters]."""
        for variable, value in zip(self.variables, self.unflatten(theta), strict=True):
            variable.assign(value)
