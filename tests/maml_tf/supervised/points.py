"""A user's own dataset of points, not images, with class ids as targets: `--datasource=<NAME>` or `<NAME_OF_KERAS>`."""

import functools

from maml_tf.supervised.datasets import Dataset


class Source:
    """3-way tasks: noisy points in a plane, whose targets are class ids [tasks, examples]."""

    input_shape, output_size, in_graph = (2,), 3, False

    def __init__(self, shots):
        self.shots = shots

    def sample(self, seed, split, iteration, num_tasks, part=None):
        """As `TaskSource.sample`."""
        first, size = part or (0, num_tasks)
        return self.tasks(seed, split, iteration * num_tasks + first, size)

    def tasks(self, seed, split, first, count):
        """Returns tasks first ... first + count - 1."""
        import numpy as np

        from data_generators.tasks import Tasks

        x = np.float32([_points([seed, len(split), i], 2 * self.shots) for i in range(first, first + count)])
        ids, support = np.tile(np.arange(3), (count, self.shots)), 3 * self.shots
        return Tasks(x[:, :support], ids, x[:, support:], ids)


def _points(seed, per_class):
    import numpy as np

    generator = np.random.default_rng(seed)
    return np.tile(generator.normal(size=(3, 2)), (per_class, 1)) + 0.1 * generator.normal(size=(3 * per_class, 2))


class Points(Dataset):
    """Points, with the project's loss and accuracy, or with Keras's for class ids."""

    def tasks(self, experiment, data_dir=None, shots=None):
        """As `Dataset.tasks`."""
        from maml_tf.supervised.task_data import TaskData

        source, tests = Source(experiment.update_batch_size), Source(shots or experiment.update_batch_size)
        fixed = functools.partial(source.tasks, 7, "val")
        return TaskData(source, functools.partial(tests.tasks, 7), fixed, ("train", "val", "test"))

    def network(self, experiment, input_shape, outputs):
        """As `Dataset.network`."""
        from maml_tf import networks

        return networks.mlp(input_shape, outputs, (8,), experiment.norm)

    def loss(self, shots):
        """As `Dataset.loss`."""
        import keras

        from maml_tf import losses

        if self.name == "points":
            return losses.SoftmaxCrossEntropy(shots), losses.accuracy
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True), "sparse_categorical_accuracy"


POINTS, KERAS = Points(name="points"), Points(name="keras")
NAME, NAME_OF_KERAS = f"{__name__}:POINTS", f"{__name__}:KERAS"
