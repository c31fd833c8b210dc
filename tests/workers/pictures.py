"""Small classes of pictures as a user's data set, which commands in other processes can load."""

from maml_tf.supervised.datasets import ImageDataset

SMALL_PICTURES = "tests.workers.pictures:PICTURES"


def _load(folder, experiment):
    from tests.data_generators.synthetic_classes import splits

    return splits()


PICTURES = ImageDataset(name="pictures", load=_load, shape=(16, 16, 3), data_dir="data/pictures")
