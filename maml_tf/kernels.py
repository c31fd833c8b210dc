"""Chooses the kernels that TensorFlow computes with on CPU. Imports no TensorFlow itself, which chooses as it loads."""

import os
import sys

_SETTING = "TF_ENABLE_ONEDNN_OPTS"
_SIDES = {"omniglot": 28, "miniimagenet": 84}
# Pixels a side. Against TensorFlow's own kernels, meta-steps by oneDNN on 2 cores with AVX2 took 9 % longer at 28, and
# 4 % less at 42, 15 % less at 56 and 24 % less at 84.
_LARGE = 48


def setting(experiment) -> dict[str, str]:
    """Environment variables for an Experiment: oneDNN's kernels for large images.

    TensorFlow itself takes them only on CPUs with instructions made for neural networks. Where the user has set the
    variable, that holds.
    """
    side = experiment.image_size or _SIDES.get(experiment.datasource, 0)
    return {_SETTING: "1"} if side >= _LARGE and _SETTING not in os.environ else {}


def choose(experiment) -> None:
    """Sets them for this process; too late, and therefore left, once TensorFlow has been imported."""
    if "tensorflow" not in sys.modules:
        os.environ.update(setting(experiment))
