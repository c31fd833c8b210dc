"""docs/from_scratch.py: its meta-gradient equals the library's on both networks, and it trains."""

import ast
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from maml_tf import MAML, Tasks, losses, networks

SOURCE = Path(__file__).parents[1] / "docs" / "from_scratch.py"
DEFINITIONS = ast.Import | ast.ImportFrom | ast.FunctionDef
ACCURACY = {"float32": 2e-5, "float64": 1e-12}  # largest error of a gradient, relative to the largest entry of all


@pytest.fixture(scope="module")
def defined():
    """The imports and definitions of the file, run without its training."""
    names = {"random": np.random.default_rng(0)}
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, DEFINITIONS)]
    exec(compile(tree, SOURCE, "exec"), names)
    return names


def assert_same_gradients(ours, maml, tasks, dtype):
    by_path = dict(zip((variable.path for variable in maml.meta_variables), maml.meta_gradients(tasks), strict=True))
    libraries = [by_path[variable.path].numpy() for variable in maml.model.trainable_variables]
    largest = max(np.abs(gradient).max() for gradient in libraries)  # a bias's gradient may be only rounding
    for one, other in zip(ours, libraries, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ACCURACY[dtype] * largest)


@pytest.mark.parametrize(
    ("dtype", "num_updates", "first_order"),
    [
        pytest.param("float64", 1, False, marks=pytest.mark.slow),
        *[("float64", 2, False), ("float64", 2, True), ("float32", 1, False)],
    ],
)
def test_sinusoid(defined, dtype, num_updates, first_order):
    network = defined["sinusoid_network"](dtype)
    tasks = tuple(np.asarray(values, dtype) for values in defined["sinusoids"](4))
    loss, gradients = defined["meta_gradient"](network, defined["squared_error"], tasks, 0.01, num_updates, first_order)
    how = {"step_size": 0.01, "num_updates": num_updates, "first_order": first_order}
    maml = MAML(network, losses.mse, **how, task_axis="map", jit=False)
    assert_same_gradients(gradients, maml, Tasks(*tasks), dtype)
    expected = maml.evaluate(Tasks(*tasks), num_updates)["losses"][:, -1].mean()
    np.testing.assert_allclose(loss, expected, rtol=ACCURACY[dtype])


@pytest.mark.parametrize(
    ("dtype", "first_order"),
    [("float64", False), ("float64", True), pytest.param("float32", False, marks=pytest.mark.slow)],
)
def test_omniglot(defined, dtype, first_order):
    """The library's network has the same weights, but computes its convolutions in another way."""
    images = np.random.default_rng(0).random((7, 20, 28, 28, 1))
    tasks = tuple(np.asarray(values, dtype) for values in defined["episodes"](images, 2))
    network = defined["omniglot_network"](filters=8, dtype=dtype)
    library = networks.conv4((28, 28, 1), 5, filters=8, dtype=dtype)
    library.set_weights(network.get_weights())
    _, gradients = defined["meta_gradient"](network, defined["cross_entropy"], tasks, 0.4, 1, first_order)
    maml = MAML(library, losses.SoftmaxCrossEntropy(1), step_size=0.4, first_order=first_order, jit=False)
    assert_same_gradients(gradients, maml, Tasks(*tasks), dtype)


def test_it_trains(defined, capsys, monkeypatch):
    keras.utils.set_random_seed(0)
    monkeypatch.setitem(defined, "random", np.random.default_rng(0))
    network, tasks = defined["sinusoid_network"](), defined["sinusoids"](10)
    defined["train"](network, defined["squared_error"], lambda: tasks, 100, 0.01)  # always the same tasks, so no noise
    first, *_, last = map(float, capsys.readouterr().out.split(": ")[1].split())
    assert last < 0.95 * first


def test_images_of_omniglot(defined, monkeypatch, tmp_path):
    """The file is black on white; 1 in 14 pixels of the second character is ink. An existing file is not downloaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "omniglot").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "data" / "omniglot" / "part.zip", "w") as file:
        for character in 0, 1:
            picture = np.full((112, 112, 1), 255, np.uint8)
            picture[:, 56 : 56 + 8 * character] = 0
            for i in range(20):
                file.writestr(f"part/a/{character}/{i:02}.png", tf.io.encode_png(picture).numpy())
    images = defined["characters"]("part")
    assert images.shape == (2, 20, 28, 28, 1)
    assert not images[0].any()
    assert (images[1, :, :, 14:16] == 1).all()
    assert images[1].mean() == pytest.approx(2 / 28)


@pytest.mark.slow
def test_whole_file_runs(real_omniglot, monkeypatch, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "omniglot").symlink_to(real_omniglot)
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r"num_iterations=\d{3,}", "num_iterations=8", SOURCE.read_text(encoding="utf-8")), {})
    assert len(re.findall(r"(?:error|accuracy) on 600 .* after \d updates: [\d.]+\n", capsys.readouterr().out)) == 6
