"""The nearest-neighbour baseline: each query has the label of the support example whose embedding is most similar.

As in Ravi and Larochelle's code (model/baselines/nearest-neighbor.lua, conv-nearest-neighbor.lua): the embedding is
what enters the classifier's linear layer, the flattened maps of the fourth block; similarity is the cosine; and for
more shots than one it is still the single nearest example that decides, not a mean per class.
"""

import keras
import tensorflow as tf

from maml_tf import losses
from maml_tf import task_axis as axis
from maml_tf.pure_model import PureModel


class NearestNeighbor:
    """A classifier's embedding, judged on few-shot tasks. Support and query are each normalised by themselves.

    Args:
        classifier: MAML of a model whose last layer is linear.
    """

    def __init__(self, classifier):
        model = classifier.model
        self._embedding = PureModel(keras.Model(model.input, model.layers[-1].input), lambda variable: True)
        self._classifier = classifier
        self._compiled = classifier.compiled(self._graph)

    def evaluate(self, tasks, num_updates=0, step_size=None, transductive=True):
        """The accuracy on every task; as `MAML.evaluate`, without updates.

        Args:
            tasks: Tasks.
            num_updates: 0.
            step_size: has no meaning here.
            transductive: True; there is no other way here.

        Returns:
            dict of arrays: `support_accuracy` [tasks], of the support's own labels by its nearest neighbours, which are
            the examples themselves; `accuracies` [tasks, 1] on the query.
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
    """The one-hot labels of the support examples with the largest cosine."""
    return tf.gather(labels, tf.argmax(tf.matmul(queries, support, transpose_b=True), axis=-1))
