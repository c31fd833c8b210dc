"""CIFAR-FS and FC100, with the settings of miniImagenet, and both from the one CIFAR-100 (`data_generators.cifar`).

The published accuracies are those of MAML in Bertinetto et al. (2019), arXiv 1805.08136, on CIFAR-FS; and on FC100, to
first order, in the README of the image classification examples of PaddleFSL (github.com/tata1661/FSL-Mate), which does
not say what its +- is.
"""

from maml_tf.supervised.dataset_kinds import like_miniimagenet


def _cifar_fs(folder, experiment):
    from data_generators import cifar

    return cifar.load_cifar(folder, cifar.CIFAR_FS)


def _fc100(folder, experiment):
    from data_generators import cifar

    return cifar.load_cifar(folder, cifar.FC100)


CIFAR_FS = like_miniimagenet(
    name="cifar_fs",
    load=_cifar_fs,
    shape=(32, 32, 3),
    data_dir="data/cifar100",
    title="CIFAR-FS",
    accuracies={"5way_1shot": (58.9, 1.9), "5way_5shot": (71.5, 1.0)},
)
FC100 = like_miniimagenet(
    name="fc100",
    load=_fc100,
    shape=(32, 32, 3),
    data_dir="data/cifar100",
    title="FC100",
    accuracies={"5way_1shot": (37.63, None), "5way_5shot": (49.14, None)},
)
