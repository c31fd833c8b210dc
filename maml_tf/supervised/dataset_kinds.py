"""The kinds of sources of tasks, `Dataset` and what it may be: tasks of sinusoids, or of images by class.

Neither this module nor yours imports TensorFlow or NumPy at its top, so that a command answers at once: what needs them
imports them when called.
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
Folder = str | Path | None  # of data; None is the dataset's own
Size = int | None  # of a test's tasks; None is the usual one


class Shapes(NamedTuple):
    """What a network has to know of its data: the shape of one input, and the number of outputs."""

    input_shape: tuple[int, ...]
    output_size: int


def _miniimagenet_paper(ways):
    return {"num_filters": 32, "max_pool": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(abc.ABC):
    """One source of tasks. A subclass has at least `tasks`, `network` and `loss`.

    name: in reports, and of the folder of its runs.
    paper: function of the number of ways, the settings where they differ from `experiment.COMMON`.
    reported_update: function of the number of ways, after how many updates a test's metric is compared with others'.
    summary_updates: updates that summaries report at least.
    tasks_per_call: tasks that an evaluation takes at a time: large enough to amortise a call, small enough for memory.
    save_every, validate_every: iterations between checkpoints, and between validations.
    validation_tasks: tasks of each validation during training; None: as many as of a test.
    clip: bound of each component of the meta-gradient; None for none.
    least_ways: the smallest number of classes.
    has_oracle: whether a task is a few numbers, which `--baseline=oracle` is told.
    photographs: whether `--augment` and `--normalize` make sense of its inputs.
    queries: query examples in training, of images per class, unless `--queries` says otherwise; None: as many as shots.
    data_dir: default folder of the data; None: there is none, or it must be given.
    title: in the lists of results; "" is the name.
    accuracies: published ones of MAML in percent, on a data set that the paper does not have: "5way_1shot", ... ->
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

    @abc.abstractmethod
    def tasks(self, experiment: "Experiment", data_dir: Folder = None, shots: int | None = None) -> "TaskData":
        """Loads or makes the data of an experiment.

        Args:
            experiment: Experiment.
            data_dir: folder of the data; default, the dataset's own.
            shots: K, where it is not that of training.
            test_queries, test_ways: as the flags of these names, which are refused where a dataset does not take them.

        Raises:
            UserError: the data are missing or malformed, or too few for the ways and shots.
        """

    def tasks_to_train(
        self, experiment: "Experiment", data_dir: Folder = None, shots: Size = None, **test: int
    ) -> "TaskData":
        """The data to train on, which may leave the test to `tasks`; arguments and errors as of that.

        Here without what is of the test, since `tasks` may draw the training tasks with the shots that it is given.
        """
        return self.tasks(experiment, data_dir)

    @abc.abstractmethod
    def network(self, experiment: "Experiment", input_shape: tuple[int, ...], outputs: int) -> "keras.Model":
        """A freshly initialised model."""

    @abc.abstractmethod
    def loss(self, shots: int) -> tuple[Callable, Callable | None]:
        """(loss, accuracy or None) for tasks with K = shots, as `MAML` takes them."""

    def shapes(self, experiment: "Experiment", data_dir: Folder = None) -> Shapes:
        """What an export needs to know of the data; as for `tasks`."""
        source = self.tasks(experiment, data_dir).source
        return Shapes(source.input_shape, source.output_size)

    def logdir(self, data_dir: str | None) -> str | None:
        """Where the runs on this folder of data go, if not to logs/<name>."""
        return None

    def describe_network(self, experiment: "Experiment") -> str:
        """A few words on the network, for reports."""
        return f"network of {self.name}"

    def original(self) -> Mapping[str, published.Curve]:
        """What the authors' code obtains with the paper's settings: learner -> loss after 0, 1, ... updates."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinusoidDataset(Dataset):
    """The regression of section 5.1: two hidden layers of 40 units, and the mean squared error."""

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

    load: function (folder, experiment) -> ClassImages by split: "train", "val" and "test", where they are there.
    shape: (height, width, channels); None: `--image_size` and `--image_channels` say.
    rotate: whether tasks turn their classes by multiples of 90 degrees.
    flatten: whether the network flattens its last maps rather than averaging them.
    digits: of an accuracy in table 1, after the decimal point.
    paper, photographs: as of `Dataset`; by default the settings of miniImagenet, and True.
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
        """As `Dataset.resizes`: where no shape is given."""
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
        """As `tasks`: the images need be enough for the test that is asked for, and for no other."""
        if type(self).tasks is not ImageDataset.tasks:  # one that may take the shots for those of training
            return super().tasks_to_train(experiment, data_dir, shots, **test)
        return self.tasks(experiment, data_dir, shots, **test)

    def _refuse_other_shapes(self, splits, experiment):
        """The network of an export is made by the shape alone."""
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
        """As `Dataset.shapes`; the images need not be there."""
        side, channels = experiment.image_size, experiment.image_channels
        return Shapes(self.shape or (side, side, channels), experiment.num_classes)

    def logdir(self, data_dir: str | None) -> str | None:
        """As `Dataset.logdir`; of two folders of images, one must not resume from the other's checkpoints."""
        if self.data_dir is not None or not data_dir:
            return None
        path, here = Path(data_dir).resolve(), Path.cwd()
        return str(Path("logs", self.name, *path.relative_to(here if path.is_relative_to(here) else path.anchor).parts))

    def describe_network(self, experiment: "Experiment") -> str:
        if not experiment.conv:
            return "no convolutions"
        return f"{experiment.num_filters} filters, {'max-pooling' if experiment.max_pool else 'strided'}"


def like_miniimagenet(**facts: Any) -> ImageDataset:
    """An ImageDataset with the settings of miniImagenet.

    Args:
        facts: the fields of ImageDataset that are its own, at least name, load and shape.
    """
    settings = {
        "summary_updates": 1,
        "tasks_per_call": 10,  # of 80 images in validation: 68 MB, and a few calls' tasks are held at a time
        "validation_tasks": 200,  # of 75 queries each: 600 would take as long as hundreds of steps
        "queries": 15,
        "clip": 10.0,  # the original clips only when it meta-trains on miniImagenet
        "flatten": True,
    }
    return ImageDataset(**settings | facts)
