"""Exports a trained policy as a TensorFlow SavedModel, which acts and adapts without this project."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.export import write
from maml_tf.signatures import equally_many, named_specs, shaped, text
from rl import vpg
from rl.advantages import Samples
from rl.envs import find
from rl.experiment import RLExperiment
from rl.policy import GaussianPolicy

ACTIONS = (
    "in the policy's units: the environment scales [-1, 1] to its bounds and clips what is outside; adaptation takes "
    "them as they were drawn, not clipped"
)
ADVANTAGES = "of samples drawn with the weights that adapt; in training their mean is 0, their standard deviation 1"

Tensors = dict[str, tf.Tensor]


def export(policy: GaussianPolicy, experiment: RLExperiment, iteration: int, path: str | Path) -> Path:
    """Writes a SavedModel of a policy; `PolicySignatures` says what its signatures compute.

    The step size of `adapt` is that of the inner update in training; in the paper's settings, the first update of the
    original's tests has the same. A pretrained policy is trained without inner updates: its step size is that of the
    first update of the original's tests.

    Args:
        policy: GaussianPolicy.
        experiment: RLExperiment that the policy was trained with.
        iteration: iteration of its checkpoint, for the description.
        path: folder to write; it must be empty or not exist.

    Returns:
        The path.

    Raises:
        UserError: the folder is not empty or cannot be written, or the policy is an oracle's.
    """
    if experiment.baseline == "oracle":
        raise UserError("--baseline=oracle does not adapt: export a policy of maml or pretrained")
    environment = find(experiment.env)
    alpha, later = environment.protocol.alphas(experiment.baseline, 2, experiment.fast_lr)
    signatures = PolicySignatures(policy, alpha)
    description = {
        "env": experiment.env,
        "iteration": iteration,
        "settings": dataclasses.asdict(experiment),
        "goal": environment.goal,  # the policy does not observe it
        "actions": ACTIONS,
        "advantages": ADVANTAGES,
        "step_size": alpha,
        "step_size_of_later_updates": later,
        "weights": signatures.weight_names,
    }
    return write(policy.model, signatures.all(), description, path, axis="samples")


class PolicySignatures:
    """The signatures of a policy: pure functions of named tensors, so that no call affects the result of another.

    Each signature is a method; `all` lists them. The first axis of observations, actions, advantages and means is that
    of the samples. There may be any number of samples; all have the same weight.

    A call that adapts makes one update. It cannot make several: the gradient of a policy is estimated from samples of
    that policy, so every update needs new samples, drawn with the weights after the previous update.

    Args:
        policy: GaussianPolicy.
        step_size: step size of `adapt`.
    """

    def __init__(self, policy: GaussianPolicy, step_size: float):
        self._policy = policy
        self._step_size = step_size
        sizes = {"observations": [policy.model.input_shape[-1]], "actions": [policy.shapes[-1][0]], "advantages": []}
        self._samples = [tf.TensorSpec([None, *size], policy.dtype, name) for name, size in sizes.items()]
        self._weights = named_specs(policy.variables, {"step_size", *sizes})

    @property
    def weight_names(self) -> list[str]:
        """The names of the weights, in the order of the policy's variables."""
        return [spec.name for spec in self._weights]

    def all(self) -> dict[str, tuple[Callable, list]]:
        """dict name -> (function, list of the tf.TensorSpec of its arguments)."""
        observations, step_size = self._samples[0], tf.TensorSpec([], self._policy.dtype, "step_size")
        weights = {spec.name: spec for spec in self._weights}
        arguments = {
            "predict": [observations],
            "adapt": self._samples,
            "adapt_with": [*self._samples, step_size],
            "adapt_again": [*self._samples, step_size, weights],
            "predict_with": [observations, weights],
        }
        return {name: (getattr(self, name), specs) for name, specs in arguments.items()}

    def predict(self, observations: tf.Tensor) -> Tensors:
        """Means [samples, act_dim] and log_std [act_dim] of the actions, before adaptation."""
        return self._distribution(self._policy.params(), observations)

    def adapt(self, observations: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor) -> Tensors:
        """The weights after one update on samples drawn with the initialisation."""
        return self._update(self._policy.params(), (observations, actions, advantages), self._step_size)

    def adapt_with(
        self, observations: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor, step_size: tf.Tensor
    ) -> Tensors:
        """The weights after one update as in `adapt`, with another step size."""
        return self._update(self._policy.params(), (observations, actions, advantages), step_size)

    def adapt_again(
        self, observations: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor, step_size: tf.Tensor, weights: Tensors
    ) -> Tensors:
        """The weights after one more update, on samples drawn with the weights given."""
        return self._update(self._checked(weights), (observations, actions, advantages), step_size)

    def predict_with(self, observations: tf.Tensor, weights: Tensors) -> Tensors:
        """Means and log_std as in `predict`, but with the weights from an adaptation."""
        return self._distribution(self._checked(weights), observations)

    def _distribution(self, params, observations):
        means, log_std = self._policy(params, shaped(observations, self._samples[0], "observations"))
        return {"means": means, "log_std": log_std}

    def _update(self, params, samples, step_size):
        samples = [shaped(value, spec, spec.name) for value, spec in zip(samples, self._samples, strict=True)]
        samples = self._equally_many(samples)
        # The policy gradient does not use the distributions that the actions were drawn from.
        samples = Samples(*samples, mask=tf.ones_like(samples[-1]), means=None, log_stds=None)
        params = vpg.update(self._policy, params, samples, step_size)
        return dict(zip(self.weight_names, params, strict=True))

    def _equally_many(self, samples):
        expected = ", ".join(f"{spec.name} {text(spec, 'samples')}" for spec in self._samples)
        empty = f"there are no samples: expected {expected}, with at least one sample"
        return equally_many(samples, empty, f"expected {expected}, with the same number of samples")

    def _checked(self, weights):
        return [shaped(weights[spec.name], spec, spec.name) for spec in self._weights]
