"""Fine-tuning and nearest neighbour, the two baselines on the classifier's embedding.

Fine-tuning is gradient descent on the support set, from the classifier's weights and a new linear layer. As in Ravi and
Larochelle's code (model/baselines/pre-trained-SGD.lua), a linear layer for the task's classes replaces the
classifier's; it is drawn once, and is the same for all tasks. Up to 15 steps on the mean cross-entropy of the whole
support set change all weights, with the step size initial / (1 + decay * step). The settings that are best on 100 tasks
of validation classes are used. In their code the number of steps is always 15; here every number up to 15 is a
candidate. Their grid has the step sizes 0.5, 0.1, 0.01, 1e-3, 1e-4 and 1e-5 and the decays 1, 0.1, ... 1e-5 and 0. Here
the last two step sizes are left out, since they hardly move any weight in 15 steps, and the decays from 0.01 to 1e-5,
since they change no step by more than an eighth.

Nearest neighbour gives each query the label of the support example whose embedding is most similar. As in their
nearest-neighbor.lua and conv-nearest-neighbor.lua, the embedding is the input of the classifier's linear layer, that
is, the flattened feature maps of the fourth block; similarity is the cosine; and with several shots, the single nearest
example decides, not a mean per class.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.tasks import Tasks
from maml_tf import losses
from maml_tf import task_axis as axis
from maml_tf.backend import keras
from maml_tf.maml import MAML
from maml_tf.pure_model import PureModel
from maml_tf.supervised import evaluation

HEAD_SEED = 1703  # a constant, so that --seed changes only the classifier


class StepSizes(NamedTuple):
    """Step sizes that decay: initial / (1 + decay * step), for step = 0, 1, ..."""

    initial: float
    decay: float = 0.0

    def first(self, steps: int) -> np.ndarray:
        """[steps] float64, the step sizes of the first steps."""
        return self.initial / (1 + self.decay * np.arange(steps))


class Choice(NamedTuple):
    """The best settings of fine-tuning.

    step_sizes: StepSizes of the steps.
    num_updates: number of steps.
    accuracy: mean accuracy over the tasks on which the settings were chosen.
    """

    step_sizes: StepSizes
    num_updates: int
    accuracy: float


def fine_tuning(classifier: MAML, ways: int, shots: int) -> MAML:
    """Makes a classifier with a new linear layer, whose `evaluate` fine-tunes all weights to few-shot tasks.

    The step sizes are an argument of its graph, so that a grid of them compiles once.

    Args:
        classifier: MAML of a model whose last layer is linear; its weights are used and never changed.
        ways: classes per task.
        shots: support examples per class.
    """
    return MAML(
        with_fresh_head(classifier.model, ways),
        losses.SoftmaxCrossEntropy(ways * shots),  # makes the loss a mean over examples
        accuracy=losses.accuracy,
        first_order=True,
        adapts=lambda variable: True,
        task_axis=classifier.task_axis,
        jit=classifier.jit,
    )


def with_fresh_head(model: keras.Model, outputs: int) -> keras.Model:
    """Makes a model that shares all layers but the last with `model`; its last is drawn as Torch draws a linear layer.

    Torch draws weights and biases uniformly between -1 / sqrt(n) and 1 / sqrt(n), where n is the number of inputs.
    """
    features = model.layers[-1].input
    bound = float(features.shape[-1]) ** -0.5
    kernel, bias = (keras.initializers.RandomUniform(-bound, bound, seed=HEAD_SEED + i) for i in range(2))
    head = keras.layers.Dense(outputs, kernel_initializer=kernel, bias_initializer=bias, name="head")
    return keras.Model(model.input, head(features))


def choose(evaluations: dict[StepSizes, evaluation.Evaluation]) -> Choice:
    """Returns the step sizes and number of steps (at least 1) with the best mean accuracy; among equals, the first."""
    choices = [
        Choice(step_sizes, updates, float(mean))
        for step_sizes, found in evaluations.items()
        for updates, mean in enumerate(found.mean)
        if updates
    ]
    return max(choices, key=lambda choice: choice.accuracy)


class NearestNeighbor:
    """Classifies by a classifier's embedding; support set and query set are each normalised by their own statistics.

    Args:
        classifier: MAML of a model whose last layer is linear.
    """

    def __init__(self, classifier: MAML):
        model = classifier.model
        self._embedding = PureModel(keras.Model(model.input, model.layers[-1].input), lambda variable: True)
        self._classifier = classifier
        self._compiled = classifier.compiler(self._graph)

    def evaluate(
        self, tasks: Tasks, num_updates: int = 0, step_size: float | None = None, transductive: bool = True
    ) -> dict[str, np.ndarray]:
        """Computes the accuracy on every task, as `MAML.evaluate` does without updates.

        Args:
            tasks: Tasks.
            num_updates: number of updates, which must be 0.
            step_size: ignored, since there are no updates.
            transductive: True, since queries are always normalised together here.

        Returns:
            dict of `support_accuracy` [tasks], for which each support example is its own nearest neighbour, and
            `accuracies` [tasks, 1] on the query set.
        """
        if num_updates or not transductive:
            raise ValueError("nearest neighbour takes no updates, and normalises queries together")
        found = self._compiled(tf.nest.map_structure(tf.convert_to_tensor, tasks))
        return {name: value.numpy() for name, value in found.items()}

    def _graph(self, tasks):
        def one_task(task):
            support = self._embed(task.support_x)
            on_support = _labelled(support, support, task.support_y)
            on_query = _labelled(self._embed(task.query_x), support, task.support_y)
            return {
                "support_accuracy": losses.accuracy(on_support, task.support_y),
                "accuracies": losses.accuracy(on_query, task.query_y)[None],
            }

        dtype = self._classifier.dtype
        signature = {"support_accuracy": tf.TensorSpec([], dtype), "accuracies": tf.TensorSpec([1], dtype)}
        return axis.map_tasks(one_task, tasks, signature, self._classifier.task_axis)

    def _embed(self, x):
        """[examples, features] of unit length."""
        pure = self._embedding
        values = [[tf.convert_to_tensor(v) for v in group] for group in (pure.adapted, pure.shared, pure.state)]
        features, _, _ = pure(*values, x)
        return tf.math.l2_normalize(features, axis=-1)


def _labelled(queries, support, labels):
    """Returns for each query the one-hot label of the support example with the largest cosine."""
    return tf.gather(labels, tf.argmax(tf.matmul(queries, support, transpose_b=True), axis=-1))
