"""The kinds of datasets: `Dataset`, and its subclasses for tasks of sinusoids and of images by class.

This module does not import TensorFlow or NumPy at its top, and neither should yours, so that commands start quickly.
Functions that need them import them when called.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_generators.errors import UserError
from maml_tf.runs import published

if TYPE_CHECKING:
    from data_generators.episodes import ClassImages
    from maml_tf.backend import keras
    from maml_tf.supervised.experiment import Experiment
    from maml_tf.supervised.task_data import TaskData

EVALUATION_TASKS = 600
Folder = str | Path | None  # folder of the data; None is the dataset's own
Size = int | None  # a size of a test's tasks; None is the usual one


class Shapes(NamedTuple):
    """What a network needs to know of its data: the shape of one input, and the number of outputs."""

    input_shape: tuple[int, ...]
    output_size: int


def _miniimagenet_paper(ways):
    return {"num_filters": 32, "max_pool": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(abc.ABC):
    """A source of tasks. A subclass defines at least `tasks`, `network` and `loss`.

    name: name in reports, and of the folder of the dataset's runs.
    paper: function of the number of ways that returns the settings that differ from `experiment.COMMON`.
    reported_update: function of the number of ways that returns after how many updates a test's metric is compared with
        published ones.
    summary_updates: minimum number of updates that summaries report.
    tasks_per_call: tasks in one call of an evaluation: large enough to amortise a call, small enough for memory.
    save_every, validate_every: iterations between checkpoints, and between validations.
    validation_tasks: tasks of each validation during training; None: as many as in a test.
    clip: bound of each component of the meta-gradient; None for none.
    least_ways: the smallest number of classes per task.
    has_oracle: whether a task is described by a few numbers, which `--baseline=oracle` adds to the inputs.
    photographs: whether the inputs are photographs, for which `--augment` and `--normalize` make sense.
    queries: query examples in training (of images, per class) unless `--queries` is given; None: as many as shots.
    data_dir: default folder of the data; None: there is none, or it must be given.
    title: title in the lists of results; "" for the name.
    accuracies: published accuracies of MAML in percent, for a dataset that is not in the paper: "5way_1shot", ... ->
        (accuracy, half width of its 95 % confidence interval, or None).
    """

    name: str
    paper: Callable[[int], dict] = lambda ways: {}
    reported_update: Callable[[int], int] = lambda ways: 10
    summary_updates: int = 5
    tasks_per_call: int = 25
    save_every: int = 1000
    validate_every: int = 2500
    validation_tasks: int | None = None
    clip: float | None = None
    least_ways: int = 1
    has_oracle: bool = False
    photographs: bool = False
    queries: int | None = None
    data_dir: str | None = None
    title: str = ""
    accuracies: Mapping[str, tuple[float, float | None]] = dataclasses.field(default_factory=dict)

    @property
    def resizes(self) -> bool:
        """Whether images are resized, to `--image_size` and `--image_channels`."""
        return False

    @property
    def folders(self) -> tuple[str, ...]:
        """The flags of main.py that name folders."""
        return "logdir", "data_dir"

    @abc.abstractmethod
    def tasks(self, experiment: "Experiment", data_dir: Folder = None, shots: int | None = None) -> "TaskData":
        """Loads or makes the data of an experiment.

        Args:
            experiment: Experiment.
            data_dir: folder of the data; default, the dataset's own.
            shots: K, if it is not that of training.
            test_queries, test_ways: values of these flags, which are refused if a dataset has no such argument.

        Raises:
            UserError: the data are missing or malformed, or too few for the ways and shots.
        """

    def tasks_to_train(
        self, experiment: "Experiment", data_dir: Folder = None, shots: Size = None, **test: int
    ) -> "TaskData":
        """Loads or makes the data to train on, and possibly to test on; arguments and errors as for `tasks`.

        This method passes on no arguments of the test, since `tasks` may also use its `shots` for training tasks.
        """
        return self.tasks(experiment, data_dir)

    @abc.abstractmethod
    def network(self, experiment: "Experiment", input_shape: tuple[int, ...], outputs: int) -> "keras.Model":
        """Makes a newly initialised model."""

    @abc.abstractmethod
    def loss(self, shots: int) -> tuple[Callable, Callable | None]:
        """Returns (loss, accuracy or None), functions of one task's outputs and targets, for tasks with K = shots."""

    def shapes(self, experiment: "Experiment", data_dir: Folder = None) -> Shapes:
        """Returns the Shapes of the data, which an export needs; arguments and errors as for `tasks`."""
        source = self.tasks(experiment, data_dir).source
        return Shapes(source.input_shape, source.output_size)

    def logdir(self, data_dir: str | None) -> str | None:
        """The folder for the runs on this folder of data; None for logs/<name>."""
        return None

    def describe_network(self, experiment: "Experiment") -> str:
        """A few words on the network, for reports."""
        return f"network of {self.name}"

    def original(self) -> Mapping[str, published.Curve]:
        """Results of the authors' code with the paper's settings: learner -> loss after 0, 1, ... updates."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinusoidDataset(Dataset):
    """The regression of section 5.1, with two hidden layers of 40 units and the mean squared error."""

    @property
    def folders(self) -> tuple[str, ...]:
        """As `Dataset.folders`: not data_dir, since the tasks are drawn."""
        return ("logdir",)

    def tasks(
        self, experiment: "Experiment", data_dir: Folder = None, shots: Size = None, test_queries: Size = None
    ) -> "TaskData":
        from maml_tf.supervised import task_data

        shots, oracle = shots or experiment.update_batch_size, experiment.baseline == "oracle"
        return task_data.of_sinusoids(shots, oracle, experiment.queries, test_queries)

    def network(self, experiment: "Experiment", input_shape: tuple[int, ...], outputs: int) -> "keras.Model":
        from maml_tf import networks

        return networks.mlp(input_shape, outputs, (40, 40), experiment.norm, num_updates=experiment.num_updates)

    def loss(self, shots: int) -> tuple[Callable, Callable | None]:
        from maml_tf import losses

        return losses.mse, None

    def describe_network(self, experiment: "Experiment") -> str:
        return "fully connected"

    def original(self) -> Mapping[str, published.Curve]:
        return published.original_sinusoid()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDataset(Dataset):
    """Images by class. As in the original, the loss is the cross-entropy divided by the shots.

    load: function (folder, experiment) -> ClassImages by split: "train", "val" and "test", as far as they exist.
    shape: (height, width, channels); None: `--image_size` and `--image_channels` give it.
    rotate: whether tasks rotate the images of a class by a random multiple of 90 degrees.
    flatten: whether the network flattens its last feature maps rather than averaging them.
    digits: number of digits after the decimal point of an accuracy in table 1.
    paper, photographs: as for `Dataset`, but by default the settings of miniImagenet, and True.
    """

    load: Callable[[Path, "Experiment"], Mapping[str, "ClassImages"]]
    shape: tuple[int, int, int] | None
    rotate: bool = False
    flatten: bool = False
    digits: int = 2
    least_ways: int = 2
    photographs: bool = True
    paper: Callable[[int], dict] = _miniimagenet_paper

    @property
    def resizes(self) -> bool:
        """As `Dataset.resizes`: true if no shape is given."""
        return self.shape is None

    def images(self, experiment: "Experiment", data_dir: Folder = None) -> Mapping[str, "ClassImages"]:
        """The images by split; UserError if they are missing or malformed."""
        folder = data_dir or self.data_dir
        if folder is None:
            raise UserError(f"--datasource={experiment.datasource} needs --data_dir, the folder with your images")
        return self.load(Path(folder), experiment)

    def tasks(self, experiment: "Experiment", data_dir: Folder = None, shots: Size = None, **test: int) -> "TaskData":
        from maml_tf.supervised import task_data

        splits, trained = self.images(experiment, data_dir), experiment.update_batch_size
        self._refuse_other_shapes(splits, experiment)
        sizes = experiment.num_classes, trained, shots or trained, experiment.queries or self.queries
        return task_data.of_images(splits, *sizes, self.rotate, augment=experiment.augment != "none", **test)

    def tasks_to_train(
        self, experiment: "Experiment", data_dir: Folder = None, shots: Size = None, **test: int
    ) -> "TaskData":
        """As `tasks`, so that the images need to suffice only for the requested test."""
        if type(self).tasks is not ImageDataset.tasks:  # another `tasks` may use the shots for training
            return super().tasks_to_train(experiment, data_dir, shots, **test)
        return self.tasks(experiment, data_dir, shots, **test)

    def _refuse_other_shapes(self, splits, experiment):
        """Raises UserError if images do not have the given shape, from which an export makes its network."""
        expected = self.shapes(experiment).input_shape
        for split, classes in splits.items():
            if tuple(classes.images.shape[1:]) != tuple(expected):
                found, name = list(classes.images.shape[1:]), experiment.datasource
                raise UserError(
                    f"the images of the {split} split are {found}, and the shape of --datasource={name} is "
                    f"{list(expected)}: correct it, or have load give images of that shape"
                )

    def network(self, experiment: "Experiment", input_shape: tuple[int, ...], outputs: int) -> "keras.Model":
        from maml_tf import networks

        norm, normalizes = experiment.norm, experiment.normalize != "none"
        more: dict = {"num_updates": experiment.num_updates, "normalize": normalizes}
        if not experiment.conv:
            return networks.mlp(input_shape, outputs, (256, 128, 64, 64), norm, **more)
        sizes = experiment.num_filters, norm, experiment.max_pool, self.flatten
        return networks.conv4(input_shape, outputs, *sizes, **more)

    def loss(self, shots: int) -> tuple[Callable, Callable | None]:
        from maml_tf import losses

        return losses.SoftmaxCrossEntropy(shots), losses.accuracy

    def shapes(self, experiment: "Experiment", data_dir: Folder = None) -> Shapes:
        """As `Dataset.shapes`, but needs no images."""
        side, channels = experiment.image_size, experiment.image_channels
        return Shapes(self.shape or (side, side, channels), experiment.num_classes)

    def logdir(self, data_dir: str | None) -> str | None:
        """As `Dataset.logdir`: without a default data_dir, each folder of images has its own folder of runs.

        Otherwise a run on one folder of images could resume from the checkpoints of another.
        """
        if self.data_dir is not None or not data_dir:
            return None
        path, here = Path(data_dir).resolve(), Path.cwd()
        return str(Path("logs", self.name, *path.relative_to(here if path.is_relative_to(here) else path.anchor).parts))

    def describe_network(self, experiment: "Experiment") -> str:
        if not experiment.conv:
            return "no convolutions"
        return f"{experiment.num_filters} filters, {'max-pooling' if experiment.max_pool else 'strided'}"


def like_miniimagenet(**facts: Any) -> ImageDataset:
    """Makes an ImageDataset with the settings of miniImagenet.

    Args:
        facts: fields of the ImageDataset, at least name, load and shape; they override the settings of miniImagenet.
    """
    settings = {
        "summary_updates": 1,
        "tasks_per_call": 10,  # 80 images each in validation: 68 MB, and the tasks of a few calls are held at a time
        "validation_tasks": 200,  # 75 queries each: 600 tasks would take as long as hundreds of steps
        "queries": 15,
        "clip": 10.0,  # the original clips only when it meta-trains on miniImagenet
        "flatten": True,
    }
    return ImageDataset(**settings | facts)
