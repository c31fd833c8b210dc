"""The original's own numbers: losses, logits, accuracies, gradients and weights after Adam, however the work runs."""

import numpy as np
import pytest
import tensorflow as tf

from tests.maml_tf.golden_checks import OriginalAdam, check_every_update, check_meta_training, check_pretraining
from tests.maml_tf.goldens import Golden, assert_close

CONFIGS = ("s1", "s2", "s3", "o1", "o2", "o2b", "o4", "o6")
META_TRAINED = tuple(name for name in CONFIGS if name != "s3")  # the oracle only pretrains
WAYS = [("map", False), ("map", True), ("vectorize", False), ("vectorize", True)]
# What else than WAYS[0] runs by default; compiling by XLA takes long, so the rest is marked slow.
FLOAT64_TOO = {("s1", way) for way in WAYS} | {("s2", way) for way in WAYS} | {("o2b", way) for way in WAYS}
FLOAT64_TOO |= {(name, ("vectorize", True)) for name in CONFIGS}


def cases(configs):
    """Configurations, ways to run and dtypes; slow ones marked."""
    found = []
    for name in configs:
        for way in WAYS:
            for dtype in ("float64", "float32"):
                fast = way == WAYS[0] or (dtype == "float64" and (name, way) in FLOAT64_TOO)
                label = f"{name}-{way[0]}-{'xla' if way[1] else 'no_xla'}-{dtype}"
                found.append(pytest.param(name, *way, dtype, id=label, marks=[] if fast else pytest.mark.slow))
    return found


@pytest.fixture
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(("name", "task_axis", "jit", "dtype"), cases(META_TRAINED))
def test_meta_training(name, task_axis, jit, dtype):
    golden = Golden(name)
    check_meta_training(golden, golden.maml(dtype, task_axis=task_axis, jit=jit), dtype)


@pytest.mark.parametrize(("name", "task_axis", "jit", "dtype"), cases(CONFIGS))
def test_pretraining(name, task_axis, jit, dtype):
    golden = Golden(name)
    check_pretraining(golden, golden.maml(dtype, task_axis=task_axis, jit=jit), dtype)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", ["s1", "o2b", "o4", "o6"])
def test_eager(name):
    golden = Golden(name)
    maml = golden.maml(task_axis="map", jit=False)
    check_meta_training(golden, maml, "float64")
    golden.initialise(maml.model)
    check_pretraining(golden, maml, "float64")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_update(name, dtype):
    golden = Golden(name)
    check_every_update(golden, golden.maml(dtype, task_axis="map", jit=False), "out", golden.tolerance(dtype))


@pytest.mark.parametrize("name", META_TRAINED)
def test_every_update_after_meta_training(name):
    golden = Golden(name)
    maml = golden.maml(task_axis="map", jit=False, optimizer=OriginalAdam())
    check_meta_training(golden, maml, "float64")
    check_every_update(golden, maml, "out_after_meta3", 1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_evaluate(name):
    golden = Golden(name)
    maml = golden.maml(task_axis="map", jit=False)
    curves = maml.evaluate(golden.tasks("float64"), 2)
    assert_close(curves["support_loss"].mean(), golden["out/total_loss1"], golden.tolerance("float64"), "support_loss")
    losses = curves["losses"][:, 1:].mean(axis=0)
    assert_close(losses, golden["out/total_losses2"][:2], golden.tolerance("float64"), "losses")
    if golden.is_image:
        accuracies = curves["accuracies"][:, 1:].mean(axis=0)
        np.testing.assert_allclose(accuracies, golden["out/total_accuracies2"][:2], atol=1e-12)
        assert abs(curves["support_accuracy"].mean() - golden["out/total_accuracy1"]) < 1e-12
