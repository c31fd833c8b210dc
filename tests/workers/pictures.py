"""Small classes of pictures as a data set of one's own, for commands in other processes to load."""

from maml_tf.supervised.datasets import ImageDataset

SMALL_PICTURES = "tests.workers.pictures:PICTURES"


def _load(folder, experiment):
    from tests.data_generators.synthetic_classes import splits

    return splits()


PICTURES = ImageDataset(name="pictures", load=_load, shape=(16, 16, 3), data_dir="data/pictures")
