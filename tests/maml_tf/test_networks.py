"""The paper's networks: shapes as in the original, sizes of the maps, distributions of the initial weights."""

import keras
import numpy as np
import pytest

from data_generators.tasks import Tasks
from maml_tf import layers, losses, networks
from maml_tf.maml import MAML
from tests.maml_tf.goldens import Golden, by_role

BLOCKS = range(1, 5)


def weights(model):
    return {role: variable.numpy() for role, variable in by_role(model).items()}


@pytest.mark.parametrize("name", ["s1", "s2", "s3", "o1", "o2", "o2b", "o4", "o6", "m1"])
def test_trainable_variables_have_the_shapes_of_the_original(name):
    golden = Golden(name)
    model = golden.maml("float32").model
    expected = {role: tuple(shape) for _, role, shape in golden.settings["trainable"]}
    assert {role: tuple(variable.shape) for role, variable in by_role(model).items()} == expected
    assert {id(v) for v in by_role(model).values()} == {id(v) for v in model.trainable_variables}


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (lambda: networks.mlp((1,), 1), 80 + 40 * 41 + 41),
        (lambda: networks.mlp((28, 28, 1), 5, (256, 128, 64, 64), "batch_norm"), 246597 + 256 + 128 + 64 + 64),
        (lambda: networks.conv4((28, 28, 1), 5), 112005),
        (lambda: networks.conv4((28, 28, 1), 20), 112005 + 15 * 65),
        (lambda: networks.conv4((28, 28, 1), 5, norm="layer_norm"), 112005 + 4 * 64),
        (lambda: networks.conv4((84, 84, 3), 5, 32, max_pool=True, flatten=True), 896 + 3 * 9248 + 4005 + 4 * 32),
    ],
)
def test_number_of_parameters(model, count):
    assert sum(int(np.prod(v.shape)) for v in model().trainable_variables) == count


@pytest.mark.parametrize(
    ("size", "max_pool", "sizes"),
    [(28, False, [14, 7, 4, 2]), (28, True, [14, 7, 3, 1]), (84, True, [42, 21, 10, 5]), (84, False, [42, 21, 11, 6])],
)
def test_sizes_of_the_maps(size, max_pool, sizes):
    model = networks.conv4((size, size, 1), 5, 2, "None", max_pool, flatten=True)
    name = "pool{}" if max_pool else "conv{}"
    assert [model.get_layer(name.format(i)).output.shape[1:3] for i in BLOCKS] == [(s, s) for s in sizes]
    if max_pool:
        assert model.get_layer("conv1").output.shape[1:3] == (size, size)
    assert model.get_layer("output").kernel.shape == (2 * sizes[-1] ** 2, 5)
    averaged = networks.conv4((size, size, 1), 5, 2, "None", max_pool)
    assert averaged.get_layer("output").kernel.shape == (2, 5)


def test_the_spatial_mean_and_the_flattening_feed_the_output():
    x = np.random.default_rng(0).normal(size=(3, 28, 28, 1))
    for flatten in (False, True):
        model = networks.conv4((28, 28, 1), 5, 4, flatten=flatten, dtype="float64")
        maps = keras.Model(model.input, model.layers[-3].output)(x).numpy()
        assert maps.shape == (3, 2, 2, 4)
        features = maps.reshape(3, 16) if flatten else maps.mean((1, 2))
        np.testing.assert_allclose(model(x), features @ model.get_layer("output").kernel.numpy(), rtol=1e-12)


@pytest.mark.parametrize("norm", ["batch_norm", pytest.param("per_update_batch_norm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("task_axis", ["map", pytest.param("vectorize", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fast_block", ["pooled_first_block", "folded_block"])
def test_fast_blocks_are_the_plain_block(fast_block, task_axis, norm, monkeypatch):
    """Compares weights, outputs (also with kept statistics) and second-order meta-gradients."""
    rng, found, updates = np.random.default_rng(0), [], 2 if norm == "per_update_batch_norm" else 1
    tasks = Tasks(*(rng.random((2, 4, *shape)) for shape in ((21, 20, 2), (3,), (21, 20, 2), (3,))))
    for _ in range(2):
        keras.utils.set_random_seed(0)
        settings = {"norm": norm, "max_pool": fast_block == "pooled_first_block", "num_updates": updates}
        model = networks.conv4((21, 20, 2), 3, 4, dtype="float64", **settings)
        maml = MAML(model, losses.mse, step_size=0.1, num_updates=updates, task_axis=task_axis, jit=False)
        names, initial = [v.path for v in model.variables], [v.numpy() for v in model.trainable_variables]
        outputs = [model(tasks.query_x[0], training=training) for training in (True, False)]
        found.append([names, *initial, *outputs, *maml.meta_gradients(tasks)])
        monkeypatch.setattr(networks, fast_block, networks.conv_block)
    names, plain_names = (values.pop(0) for values in found)
    assert names == plain_names
    for fast, plain in zip(*found, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-12)


def test_the_head_is_the_output_layer():
    model = networks.conv4((28, 28, 1), 5, 4)
    head = [v for v in model.trainable_variables if networks.is_head(v)]
    assert [id(v) for v in head] == [id(v) for v in model.get_layer("output").trainable_variables]


def test_initial_weights_of_the_fully_connected_network():
    keras.utils.set_random_seed(1)
    model = networks.mlp((28, 28, 1), 5, (256, 128, 64, 64), "batch_norm")
    for role, value in weights(model).items():
        if role.startswith("w"):
            assert np.abs(value).max() <= 0.02 + 1e-6  # cut off at two standard deviations
            np.testing.assert_allclose(value.std(), 0.01 * 0.8796, rtol=0.1)
            assert abs(value.mean()) < 4 * value.std() / np.sqrt(value.size)
        else:
            np.testing.assert_array_equal(value, 0)


@pytest.mark.parametrize("flatten", [False, True])
def test_initial_weights_of_the_convolutional_network(flatten):
    keras.utils.set_random_seed(1)
    model = networks.conv4((28, 28, 1), 20, 64, "layer_norm", flatten=flatten)
    for role, value in weights(model).items():
        if role.startswith("conv"):
            check_xavier_uniform(value, 9 * (value.shape[2] + value.shape[3]))
        elif role == "w5" and flatten:
            check_xavier_uniform(value, sum(value.shape))
        elif role == "w5":
            np.testing.assert_allclose(value.std(), 1.0, rtol=0.06)
            np.testing.assert_allclose(np.quantile(value, [0.16, 0.5, 0.84]), [-1, 0, 1], atol=0.12)
        else:
            np.testing.assert_array_equal(value, 1.0 if role.endswith("gamma") else 0.0)


def check_xavier_uniform(value, fans):
    limit = np.sqrt(6 / fans)
    assert np.abs(value).max() <= limit
    assert np.abs(value).max() > 0.98 * limit
    np.testing.assert_allclose(value.std(), limit / np.sqrt(3), rtol=0.06)


@pytest.mark.parametrize("network", ["mlp", "conv4"])
@pytest.mark.parametrize(("norm", "kind"), [("batch_norm", layers.BatchNorm), ("layer_norm", layers.LayerNorm)])
def test_every_hidden_layer_is_normalised_by_our_own_layers(network, norm, kind):
    model = networks.mlp((3,), 2, (4, 4), norm) if network == "mlp" else networks.conv4((28, 28, 1), 2, 4, norm)
    norms = [layer for layer in model.layers if layer.name.startswith("norm")]
    assert [type(layer) for layer in norms] == [kind] * (2 if network == "mlp" else 4)
    assert [layer.epsilon for layer in norms] == [{"batch_norm": 1e-3, "layer_norm": 1e-12}[norm]] * len(norms)


def test_an_unknown_norm_is_refused():
    with pytest.raises(KeyError):
        networks.mlp((1,), 1, norm="batchnorm")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_of_weights_and_outputs(dtype):
    for model in (
        networks.mlp((2, 3), 4, norm="layer_norm", dtype=dtype),
        networks.conv4((28, 28, 1), 4, 2, dtype=dtype),
    ):
        assert {v.dtype for v in model.weights} == {dtype}
        assert model(np.ones((3, *model.input_shape[1:]), dtype)).dtype == dtype
