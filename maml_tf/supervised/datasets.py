"""The sources of tasks: one object for each dataset, which holds all that the project knows of the dataset.

To add one, write a file such as `cifar`, and add its object to DATASETS.

`--datasource=NAME` selects one of DATASETS. `--datasource=module:NAME` selects your own, from a module that Python can
import:

    from maml_tf.supervised.datasets import ImageDataset
    BIRDS = ImageDataset(name="birds", load=load, shape=(32, 32, 3), data_dir="data/birds")

where load(folder, experiment) returns a dict of `data_generators.episodes.ClassImages` by split. Functions that need
TensorFlow or NumPy import them when called (see `dataset_kinds`).
"""

import importlib

from data_generators.errors import UserError, importing
from maml_tf.supervised.cifar import CIFAR_FS, FC100
from maml_tf.supervised.dataset_kinds import (
    EVALUATION_TASKS,
    Dataset,
    Folder,
    ImageDataset,
    Shapes,
    SinusoidDataset,
    like_miniimagenet,
)

__all__ = [
    "CIFAR_FS",
    "DATASETS",
    "EVALUATION_TASKS",
    "FC100",
    "FOLDER",
    "MINIIMAGENET",
    "OMNIGLOT",
    "SINUSOID",
    "Dataset",
    "Folder",
    "ImageDataset",
    "Shapes",
    "SinusoidDataset",
    "find",
    "like_miniimagenet",
]


def find(datasource: str) -> Dataset:
    """Returns one of DATASETS by its name, or a user's own dataset by "module:NAME".

    Raises:
        UserError: there is no dataset of that name, or its module cannot be imported.
    """
    if datasource in DATASETS:
        return DATASETS[datasource]
    module, _, name = datasource.partition(":")
    if not module or not name:
        raise UserError(
            f"unknown datasource {datasource!r}: choose one of {', '.join(DATASETS)}, or your own as module:NAME"
        )
    unknown = f"there is no datasource {datasource!r}"
    dataset = getattr(importing(importlib.import_module, module, unknown), name, None)
    if not isinstance(dataset, Dataset):
        raise UserError(f"{unknown}: {name!r} of {module} is not a Dataset of maml_tf.supervised.datasets")
    return dataset


def _sinusoid_paper(ways):
    settings = {"meta_batch_size": 25, "update_batch_size": 10, "num_updates": 1, "norm": "None"}
    return settings | {"metatrain_iterations": 70000}


def _omniglot_paper(ways):
    meta_batch_size, update_lr, num_updates = (32, 0.4, 1) if ways < 20 else (16, 0.1, 5)
    return {"meta_batch_size": meta_batch_size, "update_lr": update_lr, "num_updates": num_updates}


def _omniglot(folder, experiment):
    from data_generators.omniglot import load_omniglot

    return load_omniglot(folder)


def _miniimagenet(folder, experiment):
    from data_generators.miniimagenet import load_miniimagenet

    return load_miniimagenet(folder)


def _own_images(folder, experiment):
    from data_generators.own_images import load_image_folder

    return load_image_folder(folder, experiment.image_size, experiment.image_channels, experiment.splits)


SINUSOID = SinusoidDataset(
    name="sinusoid",
    paper=_sinusoid_paper,
    tasks_per_call=EVALUATION_TASKS,
    save_every=5000,
    validate_every=10000,
    has_oracle=True,
)
OMNIGLOT = ImageDataset(
    name="omniglot",
    load=_omniglot,
    shape=(28, 28, 1),
    data_dir="data/omniglot",
    paper=_omniglot_paper,
    reported_update=lambda ways: 5 if ways >= 20 else 3,
    rotate=True,
    photographs=False,
    digits=1,
)
MINIIMAGENET = like_miniimagenet(
    name="miniimagenet", load=_miniimagenet, shape=(84, 84, 3), data_dir="data/miniImagenet"
)
# With miniImagenet's settings, since most users' images resemble miniImagenet's more than Omniglot's.
FOLDER = like_miniimagenet(name="folder", load=_own_images, shape=None)
DATASETS = {dataset.name: dataset for dataset in (SINUSOID, OMNIGLOT, MINIIMAGENET, CIFAR_FS, FC100, FOLDER)}
