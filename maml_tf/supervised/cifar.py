"""CIFAR-FS and FC100, both made from CIFAR-100 (`data_generators.cifar`), with the settings of miniImagenet.

The published accuracies of MAML on CIFAR-FS are from Bertinetto et al. (2019), arXiv 1805.08136. Those of first-order
MAML on FC100 are from the README of the image classification examples of PaddleFSL (github.com/tata1661/FSL-Mate). It
does not say what its +- means, so they have no confidence interval here.
"""

from typing import Any

from maml_tf.supervised.dataset_kinds import ImageDataset, like_miniimagenet


def _made_of_cifar(edition: str, **facts: Any) -> ImageDataset:
    """Makes the dataset of an edition, which is given by its name in `data_generators.cifar`."""

    def load(folder, experiment):
        from data_generators import cifar

        return cifar.load_cifar(folder, getattr(cifar, edition))

    return like_miniimagenet(load=load, shape=(32, 32, 3), data_dir="data/cifar100", **facts)


CIFAR_FS = _made_of_cifar(
    "CIFAR_FS",
    name="cifar_fs",
    title="CIFAR-FS",
    accuracies={"5way_1shot": (58.9, 1.9), "5way_5shot": (71.5, 1.0)},
)
FC100 = _made_of_cifar(
    "FC100",
    name="fc100",
    title="FC100",
    accuracies={"5way_1shot": (37.63, None), "5way_5shot": (49.14, None)},
)
