"""Compares losses, logits, accuracies, gradients and weights after Adam with the original's, however the work runs."""

import numpy as np
import pytest
import tensorflow as tf

from tests.maml_tf.golden_checks import (
    OriginalAdam,
    check_every_update,
    check_gradients,
    check_meta_training,
    check_pretraining,
)
from tests.maml_tf.goldens import Golden, assert_close

CONFIGS = ("s1", "s2", "s3", "o1", "o2", "o2b", "o4", "o6", "m1")
META_TRAINED = tuple(name for name in CONFIGS if name != "s3")  # the oracle only pretrains
# o2 is o2b to first order: everything before a meta-update is the same, to the last bit of the file.
BEFORE_META_TRAINING = tuple(name for name in CONFIGS if name != "o2")
WAYS = {
    "map": {"task_axis": "map", "jit": False},
    "map-xla": {"task_axis": "map", "jit": True},
    "vectorize": {"task_axis": "vectorize", "jit": False},
    "vectorize-xla": {"task_axis": "vectorize", "jit": True},
}
# XLA takes half a minute to compile a convolutional network's meta-step; cases that are not listed are marked slow.
FAST_META_TRAINING = {(name, "map", dtype) for name in META_TRAINED for dtype in ("float64", "float32")}
FAST_META_TRAINING -= {("o4", "map", "float32")}  # o2 and o2b have the same network
FAST_META_TRAINING |= {("s2", way, "float64") for way in WAYS} | {("s1", "vectorize-xla", "float64")}
FAST_META_TRAINING |= {("o4", "vectorize-xla", "float64")}
FAST_PRETRAINING = {(name, "map", "float64") for name in BEFORE_META_TRAINING if name != "m1"} | {
    ("s3", "map", "float32"),
    ("o6", "map", "float32"),
}
FAST_PRETRAINING |= {("s3", "vectorize-xla", "float64")}
SLOW_M1 = [pytest.param(name, marks=[pytest.mark.slow] if name == "m1" else []) for name in BEFORE_META_TRAINING]


def cases(names, fast):
    """Returns a parameter for each configuration, way and dtype; those that are not in `fast` are marked slow."""
    every = [(name, way, dtype) for name in names for way in WAYS for dtype in ("float64", "float32")]
    assert fast <= set(every)
    return [pytest.param(*case, marks=[] if case in fast else pytest.mark.slow) for case in every]


@pytest.fixture
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(("name", "way", "dtype"), cases(META_TRAINED, FAST_META_TRAINING))
def test_meta_training(name, way, dtype):
    golden = Golden(name)
    check_meta_training(golden, golden.maml(dtype, **WAYS[way]), dtype)


@pytest.mark.slow
def test_meta_gradient_before_clipping():
    golden = Golden("m1")
    assert max(np.abs(gradient).max() for gradient in golden.of_roles("metagrad").values()) > golden.clip
    maml = golden.maml(**WAYS["map"])
    gradients = maml.meta_gradients(golden.tasks("float64"))
    by_variable = {id(v): g.numpy() for v, g in zip(maml.meta_variables, gradients, strict=True)}
    check_gradients(golden, maml.model, by_variable, "metagrad", "float64")


@pytest.mark.parametrize(("name", "way", "dtype"), cases(BEFORE_META_TRAINING, FAST_PRETRAINING))
def test_pretraining(name, way, dtype):
    golden = Golden(name)
    check_pretraining(golden, golden.maml(dtype, **WAYS[way]), dtype)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "name", ["s2", "o4", "o6", *(pytest.param(n, marks=pytest.mark.slow) for n in ("s1", "o1", "o2", "o2b"))]
)
def test_eager(name):
    golden = Golden(name)
    maml = golden.maml(**WAYS["map"])
    check_meta_training(golden, maml, "float64")
    golden.initialise(maml.model)
    check_pretraining(golden, maml, "float64")


@pytest.mark.parametrize("name", SLOW_M1)
def test_adapting_and_predicting(name):
    golden = Golden(name)
    check_every_update(golden, golden.maml(**WAYS["map"]), "out", golden.tolerance("float64"))


@pytest.mark.parametrize("name", SLOW_M1)
def test_adapting_and_predicting_in_float32(name):
    """Images have only the updates of training: later, a change in the 21st bit of the weights grows to 1e-3."""
    golden = Golden(name)
    num_updates = golden.flags["num_updates"] if golden.is_image else None
    maml = golden.maml("float32", **WAYS["map"])
    check_every_update(golden, maml, "out", golden.tolerance("float32"), num_updates)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("s2", "o4") else pytest.mark.slow) for n in META_TRAINED]
)
def test_adapting_and_predicting_after_training(name):
    golden = Golden(name)
    tolerance = golden.tolerance("float64") if name == "m1" else 1e-6  # as the weights agree to 1e-6
    maml = golden.maml(optimizer=OriginalAdam(golden.clip), pretrain_optimizer=OriginalAdam(), **WAYS["map"])
    check_pretraining(golden, maml, "float64")
    check_every_update(golden, maml, "out_after_pre1", tolerance)
    golden.initialise(maml.model)
    check_meta_training(golden, maml, "float64")
    check_every_update(golden, maml, "out_after_meta3", tolerance)


@pytest.mark.parametrize("name", SLOW_M1)
def test_evaluating(name):
    golden, tolerance = Golden(name), Golden(name).tolerance("float64")
    expected = golden["out/total_losses2"]
    curves = golden.maml(**WAYS["map"]).evaluate(golden.tasks("float64"), len(expected))
    assert_close(curves["support_loss"].mean(), golden["out/total_loss1"], tolerance, "support_loss")
    for update, loss in enumerate(expected):
        assert_close(curves["losses"][:, update + 1].mean(), loss, tolerance, f"loss after update {update + 1}")
    if golden.is_image:
        np.testing.assert_allclose(curves["accuracies"][:, 1:].mean(0), golden["out/total_accuracies2"], atol=1e-12)
        assert abs(curves["support_accuracy"].mean() - golden["out/total_accuracy1"]) < 1e-12
