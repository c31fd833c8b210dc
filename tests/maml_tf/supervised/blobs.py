"""A dataset of small images in a user's own module, for `--datasource=tests.maml_tf.supervised.blobs:BLOBS`."""

from maml_tf.supervised.datasets import ImageDataset

NAME = f"{__name__}:BLOBS"


def load(folder, experiment):
    """Returns six training, six validation and three test classes, each of 20 images."""
    from tests.data_generators.synthetic_classes import splits

    return splits()


BLOBS = ImageDataset(name="blobs", load=load, shape=(16, 16, 3), data_dir="nowhere")
