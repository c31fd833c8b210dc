"""A command that loads the folder of images in "mine" as `main.py --datasource=folder` does, but does not train."""

from data_generators.own_images import load_image_folder
from maml_tf.runs.boundary import guarded
from tests.stress.outcomes import hash_of


def main(arguments):
    """Prints the split, name, number of images and hash of every class."""
    return guarded(_run)


def _run():
    for split, found in load_image_folder("mine", side=16).items():
        for name, start, length in zip(found.names, found.offsets, found.lengths, strict=True):
            print(split, name, length, hash_of(found.images[start : start + length].tobytes()))
