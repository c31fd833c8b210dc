"""Tests of reading the original code's checkpoints."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import losses, networks
from maml_tf.maml import MAML
from maml_tf.runs.checkpoints import is_tf1
from maml_tf.supervised import build, original_checkpoints
from tests.maml_tf.goldens import Golden, assert_close, by_role
from tests.maml_tf.runs.stores import EXPERIMENT, make_maml
from tests.maml_tf.supervised import original_checkpoints as original

SMALL = {"input_shape": (8, 8, 1), "outputs": 3, "filters": 2}


def conv4(**settings):
    return networks.conv4(**(SMALL | settings))


def numbered(model):
    """Gives every number in the trainable variables a different value; returns the model."""
    count = 0
    for variable in model.trainable_variables:
        size = int(np.prod(variable.shape))
        variable.assign(np.arange(count, count + size, dtype="float32").reshape(variable.shape))
        count += size
    return model


@pytest.mark.parametrize("name", ["o1", "o6", "s1", "s3"])
def test_names_are_those_of_the_original(name):
    golden = Golden(name)
    model = golden.maml().model
    found = {name: id(variable) for name, variable in original_checkpoints.variables_by_name(model).items()}
    roles = by_role(model)
    assert found == {name: id(roles[role]) for name, role, _ in golden.settings["trainable"]}


def test_names_of_normalisations():
    def scopes(model):
        names = original_checkpoints.variables_by_name(model)
        return sorted(name for name in names if name.endswith(("beta", "gamma")))

    assert scopes(conv4()) == [f"model/{i}/beta" for i in range(4)]
    assert scopes(conv4(norm="None")) == []
    both = [f"model/{i}/{name}" for i in range(4) for name in ("beta", "gamma")]
    assert scopes(conv4(norm="layer_norm")) == both
    # Without convolutions the original skips number 1.
    no_conv = networks.mlp((28, 28, 1), 5, (8, 7, 6, 5), "batch_norm")
    assert scopes(no_conv) == [f"model/{i}/beta" for i in (0, 2, 3, 4)]
    betas = original_checkpoints.variables_by_name(no_conv)
    assert [betas[f"model/{i}/beta"].shape for i in (0, 2, 3, 4)] == [(8,), (7,), (6,), (5,)]


@pytest.mark.parametrize(
    "make",
    [
        conv4,
        lambda: conv4(norm="layer_norm"),
        lambda: conv4(norm="None", max_pool=True, input_shape=(16, 16, 3), flatten=True),
        lambda: networks.mlp((1,), 1),
        lambda: networks.mlp((4, 4, 1), 3, (5, 4, 3, 2), "batch_norm"),
    ],
)
def test_weights_come_back(tmp_path, make):
    written = numbered(make())
    original.write(tmp_path / "model7", original.weights(written))
    assert is_tf1(tmp_path / "model7")
    read = make()
    original_checkpoints.load(tmp_path / "model7", read)
    for variable, expected in zip(read.trainable_variables, written.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())


def test_what_tensorflow_1_itself_saves_with_an_optimiser(tmp_path):
    """The checkpoint holds the state of two Adam optimizers, and moving averages that the original never uses."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("model"):
            sizes = [1, 40, 40, 1]
            for i in range(3):
                v1.Variable(tf.fill([sizes[i], sizes[i + 1]], i + 1.0))
                v1.Variable(tf.fill([sizes[i + 1]], i + 10.0))
            v1.get_variable("0/moving_mean", [40], trainable=False)
        weights = v1.trainable_variables()
        loss = tf.add_n([tf.reduce_sum(w**2) for w in weights])
        updates = [v1.train.AdamOptimizer(0.001).minimize(loss) for _ in range(2)]
        v1.train.create_global_step()
        session.run(v1.global_variables_initializer())
        values = session.run(weights)
        v1.train.Saver().save(session, str(tmp_path / "model1000"))
        session.run(updates)
    names = tf.train.load_checkpoint(str(tmp_path / "model1000")).get_variable_to_shape_map()
    assert {"model/Variable_5", "model/Variable_5/Adam_3", "beta2_power_1", "model/0/moving_mean"} <= set(names)
    model = networks.mlp((1,), 1)
    original_checkpoints.load(tmp_path / "model1000", model)
    for variable, expected in zip(model.trainable_variables, values, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)


@pytest.mark.parametrize(
    ("made", "flags", "differences"),
    [
        ({"outputs": 5}, {}, "model/w5 is 2 x 5 where 2 x 3 is needed, model/b5 is 5 where 3 is needed; give"),
        ({}, {"filters": 3}, r"model/conv1 is 3 x 3 x 1 x 2 where 3 x 3 x 1 x 3 is needed, .* and 7 more; give"),
        ({"norm": "None"}, {}, "model/0/beta is missing, model/1/beta is missing, .*model/3/beta is missing; give"),
        ({}, {"norm": "None"}, "model/0/beta has no place, .*model/3/beta has no place; give"),
        ({"norm": "layer_norm"}, {}, "model/0/gamma has no place, .*model/3/gamma has no place; give"),
        ({}, {"norm": "layer_norm"}, "model/0/gamma is missing, .*model/3/gamma is missing; give"),
        (
            {},
            {"flatten": True, "max_pool": True, "input_shape": (32, 32, 1)},
            "model/w5 is 2 x 3 where 8 x 3 is needed",
        ),
    ],
)
def test_another_architecture_is_refused_and_says_what_differs(tmp_path, made, flags, differences):
    original.write(tmp_path / "model7", original.weights(numbered(conv4(**made))))
    model = conv4(**flags)
    before = [variable.numpy() for variable in model.trainable_variables]
    with pytest.raises(UserError, match=rf"model7 has another architecture than these flags: {differences}") as error:
        original_checkpoints.load(tmp_path / "model7", model)
    assert "\n" not in str(error.value)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_another_program_s_checkpoint(tmp_path):
    original.write(tmp_path / "model7", {"dense/kernel": np.zeros(3, "float32"), "global_step": np.int64(7)})
    with pytest.raises(UserError, match=r"model/conv1 is missing, .* and 8 more"):
        original_checkpoints.load(tmp_path / "model7", conv4())


def test_damaged_checkpoint(tmp_path):
    path = tmp_path / "model7"
    original.write(path, original.weights(numbered(conv4())))
    data = tmp_path / "model7.data-00000-of-00001"
    whole = data.read_bytes()
    model = conv4()
    before = [variable.numpy() for variable in model.trainable_variables]
    for damaged in (whole[:-9], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], b""):
        data.write_bytes(damaged)
        with pytest.raises(UserError, match=r"model7 is damaged"):
            original_checkpoints.load(path, model)
    (tmp_path / "model7.index").write_bytes(b"")
    assert not is_tf1(path)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_ours_are_told_apart_and_training_does_not_resume_from_the_original_s(tmp_path):
    maml = make_maml(learn=False)
    store = build.store(tmp_path, maml, EXPERIMENT)
    assert not is_tf1(store.save(5))
    assert not is_tf1(tmp_path / "model6")
    original.write(tmp_path / "model7", original.weights(maml.model))
    with pytest.raises(
        UserError, match=r"model7 is of the original code, .*: test it with main.py --train=False, or train"
    ):
        store.restore()
    assert store.restore(5) == 5


@pytest.fixture(scope="module")
def authors():
    """The folder of the authors' own weights, and the numbers that these must give."""
    if not os.environ.get("MAML_TEST_DATA"):
        pytest.skip("MAML_TEST_DATA names no folder with the authors' checkpoint")
    folder = Path(os.environ["MAML_TEST_DATA"]) / "checkpoints"
    if not (folder / "ckpt_forward.npz").exists():
        pytest.skip("MAML_TEST_DATA has no checkpoints/ckpt_forward.npz")
    with np.load(folder / "ckpt_forward.npz") as arrays:
        return folder, dict(arrays)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-5), pytest.param("float32", 1e-3, marks=pytest.mark.slow)]
)
def test_authors_weights_give_the_original_s_logits(authors, dtype, tolerance):
    """Checked before and after each of 10 updates, for 5 and for 75 query images, whose statistics differ."""
    folder, golden = authors
    model = networks.conv4((84, 84, 3), 5, 32, max_pool=True, flatten=True, dtype=dtype)
    original_checkpoints.load(folder / "model59000", model)
    loss = losses.SoftmaxCrossEntropy(1)
    maml = MAML(model, loss, step_size=0.01, num_updates=1, task_axis="map", jit=False)
    support_x, query_x = (_images(golden[f"in/input{which}_u8"][0], dtype) for which in "ab")
    support_y = golden["in/labela"][0].astype(dtype)

    def check(adapted, name, *index):
        for queries in (5, 75):
            expected = golden[f"q{queries}/logits_query_{name}"][index]
            logits = maml.predict(query_x[:queries], adapted, transductive=True)
            assert_close(logits, expected, tolerance, f"{queries} queries {name} {index}")

    expected = golden["q5/logits_support_before"]
    assert_close(maml.predict(support_x, transductive=True), expected, tolerance, "support")
    check(None, "before")
    for update in range(10):
        adapted = maml.adapt(support_x, support_y)
        check(adapted, "after", update)
        for variable, value in zip(maml.pure.adapted, adapted.params, strict=True):
            variable.assign(value)


def _images(pixels, dtype):
    return (pixels.astype("float32") / np.float32(255)).reshape(-1, 84, 84, 3).astype(dtype)
