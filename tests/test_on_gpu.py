"""The commands on a GPU: training, resuming, testing, exporting, reinforcement learning, and several GPUs.

python -m pytest -m gpu -s -n0

The numbers of single steps are compared with the original's in maml_tf/test_gpu.py.
"""

import re

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build
from maml_tf.supervised.steps import HostSteps
from tests.data_generators.synthetic_images import tree, write
from tests.maml_tf import small_runs
from tests.maml_tf.small_runs import assert_same_numbers, contents
from tests.workers.started import run_folder, written

GPUS = tf.config.list_physical_devices("GPU")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="TensorFlow finds no GPU")]
SINUSOID = ("main.py", "--datasource=sinusoid", "--test_tasks=20", "--validation_interval=0")
IMAGES = (
    "main.py",
    "--datasource=folder",
    "--image_size=28",
    "--image_channels=1",
    "--num_classes=2",
    "--num_filters=8",
)
IMAGES += ("--meta_batch_size=4", "--queries=1", "--num_updates=1", "--test_tasks=8", "--validation_interval=0")
FEW_STEPS = (*SINUSOID, "--metatrain_iterations=20")  # with more steps, ReLU's kinks amplify rounding errors
SMALL_POLICY = ("--meta_batch_size=4", "--fast_batch_size=2", "--horizon=10", "--iterations=2")
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def assert_same_training(logdir, expected):
    """Asserts that the last checkpoints of two short trainings hold the same numbers up to rounding."""
    found, expected = (contents(run_folder(folder) / "model20") for folder in (logdir, expected))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(logdir, output of the command) of a sinusoid run trained on the GPU."""
    logdir = tmp_path_factory.mktemp("sinusoid")
    return logdir, written(*SINUSOID, "--metatrain_iterations=300", f"--logdir={logdir}")


def test_main_trains_and_tests_on_the_gpu(trained):
    logdir, out = trained
    assert re.search(r"^  device +\S", out, re.MULTILINE)
    assert "\n  device                CPU" not in out
    assert "Testing the checkpoint of iteration 300" in out
    assert available(run_folder(logdir)) == [300]


def test_gpu_trains_what_the_cpu_trains(tmp_path):
    written(*FEW_STEPS, f"--logdir={tmp_path}/gpu")
    out = written(*FEW_STEPS, f"--logdir={tmp_path}/cpu", **NO_GPU)
    assert "\n  device                CPU" in out
    assert_same_training(tmp_path / "gpu", tmp_path / "cpu")


def test_cpu_resumes_and_the_gpu_after_it(trained):
    logdir, _ = trained
    out = written(*SINUSOID, "--metatrain_iterations=310", f"--logdir={logdir}", **NO_GPU)
    assert "Resuming from the checkpoint of iteration 300" in out
    out = written(*SINUSOID, "--metatrain_iterations=320", f"--logdir={logdir}")
    assert "Resuming from the checkpoint of iteration 310" in out


def test_export_of_a_gpu_answers_on_a_cpu(trained, tmp_path):
    logdir, _ = trained
    export = "--test_iter=300", f"--export_dir={tmp_path}/1"
    written("main.py", "--metatrain_iterations=300", f"--logdir={logdir}", *export)
    code = (
        "import sys, numpy as np, tensorflow as tf; model = tf.saved_model.load(sys.argv[1]);"
        "x = tf.reshape(tf.linspace(-5.0, 5.0, 10), [10, 1]);"
        "np.save(sys.argv[2], model.predict_with(x, model.adapt(x, tf.sin(x)))['outputs'])"
    )
    for name, environment in (("gpu", {}), ("cpu", NO_GPU)):
        written("-c", code, tmp_path / "1", tmp_path / f"{name}.npy", **environment)
    gpu, cpu = (np.load(tmp_path / f"{name}.npy") for name in ("gpu", "cpu"))
    assert np.ptp(cpu) > 0.1
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=1e-3)  # plain TensorFlow may multiply in TensorFloat-32


def test_deterministic_run_that_was_stopped_is_the_whole_one_to_the_bit(tmp_path):
    classes = {f"{split}/{name}": 12 for split in ("train", "val", "test") for name in (f"{split}1", f"{split}2")}
    data = write(tmp_path / "data", tree(classes, width=28, height=28))
    command = (*IMAGES, "--deterministic", f"--data_dir={data}")
    written(*command, "--metatrain_iterations=20", f"--logdir={tmp_path}/whole")
    for end in (10, 20):
        written(*command, f"--metatrain_iterations={end}", f"--logdir={tmp_path}/parts")
    whole, parts = (run_folder(tmp_path / name) / "model20" for name in ("whole", "parts"))
    assert_same_numbers(parts, whole)


def test_batches_are_on_the_gpu_before_their_step(monkeypatch, tmp_path):
    small_runs.use_small_omniglot(monkeypatch, tmp_path)
    experiment = small_runs.small(small_runs.IMAGES, 1)
    source = build.load(experiment).source
    with HostSteps(build.build(experiment, source), experiment, source) as steps:
        assert all(tensor.device.endswith("GPU:0") for tensor in tf.nest.flatten(steps._draw(0)))


def test_policy_trains_on_the_gpu(tmp_path):
    pytest.importorskip("mujoco")
    out = written("-m", "scripts.train_rl", *SMALL_POLICY, f"--logdir={tmp_path}")
    assert "Trained for 2 iterations" in out


@pytest.mark.skipif(len(GPUS) < 2, reason="there is one GPU")
def test_two_gpus_train_what_one_trains(tmp_path):
    written("-m", "scripts.local_workers", "--workers=2", *FEW_STEPS, f"--logdir={tmp_path}/two")
    written(*FEW_STEPS, f"--logdir={tmp_path}/one", CUDA_VISIBLE_DEVICES="0")
    assert_same_training(tmp_path / "two", tmp_path / "one")
