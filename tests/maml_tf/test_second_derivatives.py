import re
import sys
import warnings
from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from tensorflow.python.framework import ops

from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.layers import vectorizable
from maml_tf.maml import MAML
from maml_tf.second_derivatives import Finding, find, sentence
from tests.maml_tf import stock_layers
from tests.maml_tf.finite_differences import objective, verdict
from tests.maml_tf.own_layers import OWN, SLOW, Own, normalised, own_model, softmax_by_hand
from tests.maml_tf.small_models import conv2

# One of each kind: right; with integers; without a second derivative; without a first; silently wrong, in two ways.
SOME = ("Dense", "Embedding", "Activation softsign", "Resizing area", "UpSampling2D bilinear", "LayerNormalization")


@pytest.fixture(autouse=True)
def _fresh():
    """Makes layer names and random numbers independent of earlier tests; restores the dtype policy afterwards."""
    keras.backend.clear_session(free_memory=False)  # freeing would take longer than most tests
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def found(model, loss=None, adapts=lambda variable: True, inputs=None):
    adapted = [v for v in model.trainable_variables if adapts(v)]
    shared = [v for v in model.trainable_variables if not adapts(v)]
    state = model.non_trainable_variables
    return find(
        loss or objective(model, adapts), adapted, shared, state, inputs or model.inputs, model._flatten_layers()
    )


def is_found_faulty(name):
    keras.config.set_dtype_policy(stock_layers.dtype(name))
    model = stock_layers.model(name)
    # The first derivative of spectral normalisation is right only once its state has settled.
    return bool(found(model)), verdict(model, passes=1000 if "SpectralNormalization" in name else 0).faulty


@pytest.mark.parametrize("name", SOME)
def test_a_layer_is_found_if_finite_differences_say_so(name):
    is_found, is_faulty = is_found_faulty(name)
    assert is_found == is_faulty


# Batch renormalisation is left out: it stops some gradients on purpose, but those of its moments by mistake.
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in stock_layers.names() if name != "BatchNormalization renorm"])
def test_every_layer_is_found_if_finite_differences_say_so(name):
    is_found, is_faulty = is_found_faulty(name)
    assert is_found == is_faulty


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in OWN])
def test_layers_of_users(name):
    assert found(own_model(name)) == [Finding("own", "Own", *what) for what in OWN[name][1]]


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_layers_of_users_are_judged_as_finite_differences_do(name):
    keras.config.set_dtype_policy("float64")
    by_design = name == "moments and a detached branch"
    assert verdict(own_model(name)).faulty == (bool(OWN[name][1]) and not by_design)


def test_one_layer_stops_on_purpose_and_another_of_its_kind_does_not():
    def normal(x):
        return (
            tf.math.rsqrt(tf.reduce_mean((x - tf.stop_gradient(tf.reduce_mean(x, -1, keepdims=True))) ** 2) + 0.1) * x
        )

    stop = L.Lambda(lambda x: x * tf.stop_gradient(tf.tanh(x)))
    model = keras.Sequential([keras.Input((6,)), L.Dense(6), stop, L.Lambda(normal, name="wrong"), L.Dense(2)])
    assert found(model) == [Finding("wrong", "Lambda", "StopGradient", False)]


def test_numbers_that_are_given_are_used():
    inputs = keras.Input((1,), dtype="int32")
    model = keras.Model(inputs, Own(softmax_by_hand)(L.Embedding(1, 3)(inputs)))
    assert found(model, inputs=[tf.zeros([2, 1], tf.int32)]) == []


def test_a_function_of_the_users_keeps_its_derivatives():
    stopped = tf.function(lambda x: x * tf.stop_gradient(x))
    model = keras.Sequential([keras.Input((3,)), L.Dense(3), Own(stopped), L.Dense(2)])
    assert found(model) == []
    x = tf.constant([3.0])
    with tf.GradientTape() as second:
        second.watch(x)
        with tf.GradientTape() as first:
            first.watch(x)
            y = stopped(x)
        slope = first.gradient(y, x)
    assert slope == 3
    assert second.gradient(slope, x, unconnected_gradients="zero") == 0


def test_the_layer_is_named_wherever_it_is():
    # Keras gives the scope of the second call of "dense" the name "dense_1" too.
    cell = keras.Sequential([keras.Input((4,)), L.Dense(4, "softsign", name="dense_1")], name="inner")
    inputs = [keras.Input((5, 3)), keras.Input((4,))]
    dense = L.Dense(4, name="dense")
    x = L.TimeDistributed(cell)(dense(dense(L.Dense(4, name="first")(inputs[0]))))
    x = L.Bidirectional(L.SimpleRNN(4, activation="softsign", name="rnn"))(x)
    y = L.Dense(8, "softsign", name="other")(inputs[1])
    model = keras.Model(inputs, L.Dense(2, name="output")(L.Add()([x, y])))
    cells = [layer.name for layer in model._flatten_layers() if isinstance(layer, L.SimpleRNNCell)]
    names = {finding.layer for finding in found(model) if finding.operation == "SoftsignGrad"}
    assert names == {"dense_1", *cells, "other"}


def test_a_shared_layer_is_named_once():
    shared = L.Dense(4), L.LayerNormalization(name="shared")
    inputs = x = keras.Input((4,))
    for layer in (*shared, *shared):
        x = layer(x)
    assert found(keras.Model(inputs, L.Dense(2)(x))) == [Finding("shared", "LayerNormalization", "StopGradient", False)]


def test_a_layer_in_the_cell_of_a_loop():
    class Cell(L.SimpleRNNCell):
        def build(self, shape):
            super().build(shape)
            self.inner = L.Activation("softsign", name="inside")

        def call(self, x, states, training=False):
            x, states = super().call(x, states, training)
            return self.inner(x), states

    model = keras.Sequential([keras.Input((3, 4)), L.RNN(Cell(4)), L.Dense(2)])
    assert found(model) == [Finding("inside", "Activation", "SoftsignGrad", True)]


def test_what_the_second_derivative_does_not_pass_is_right():
    data = keras.Sequential([keras.Input((6, 6, 1)), L.Resizing(4, 4), L.RandomZoom(0.2), L.Flatten(), L.Dense(2)])
    assert found(data) == []
    layers = [L.Dense(4), L.BatchNormalization(), L.Dense(2, name="head")]
    body_and_head = keras.Sequential([keras.Input((4,)), *layers])
    assert found(body_and_head, adapts=lambda v: "head" in v.path) == []
    assert found(body_and_head, adapts=lambda v: "head" not in v.path) != []


def test_the_loss():
    model = keras.Sequential([keras.Input((6,)), L.Dense(6)])

    def of(function):
        def loss(adapted, shared, state, x):
            with keras.StatelessScope(state_mapping=list(zip(model.trainable_variables, adapted, strict=True))):
                return tf.reduce_sum(function(model(x)) ** 3), state

        return loss

    assert found(model, of(softmax_by_hand)) == []
    assert found(model, of(normalised)) == [Finding("", "", "StopGradient", False)]
    [finding] = found(model, of(tf.nn.softsign))
    assert sentence(finding).startswith("the loss has no second derivative in TensorFlow (SoftsignGrad)")


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    layers = [L.Dense(6, "tanh"), Own(softmax_by_hand), L.Dense(6), L.LayerNormalization(name="wrong"), L.Dense(2)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    assert [finding.layer for finding in found(model)] == ["wrong"]


def test_numbers_that_do_not_suit_a_model_are_no_excuse():
    inputs = keras.Input((None, None, 3))
    x = L.LayerNormalization(name="wrong")(L.Conv2D(4, 9)(L.Conv2D(4, 9)(inputs)))
    assert [f.layer for f in found(keras.Model(inputs, L.GlobalAveragePooling2D()(x)))] == ["wrong"]


def test_recurrent_layers_on_a_gpu(monkeypatch):
    """By default they would use cuDNN; MAML calls those with use_cudnn="auto" without it."""
    layer = L.LSTM(4, name="fused")
    model = keras.Sequential([keras.Input((5, 3)), layer, L.Dense(2)])
    assert found(model) == []
    monkeypatch.setattr(sys.modules["keras.src.backend.tensorflow.rnn"], "_is_gpu_available", lambda: True)
    [finding] = found(model)
    assert finding == Finding("fused", "LSTM", "CudnnRNNBackpropV3", True)
    assert "use_cudnn=False" in sentence(finding)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MAML(model, losses.mse)
    assert layer.use_cudnn == "auto"


@pytest.mark.parametrize("form", [nullcontext, vectorizable])
def test_the_networks_of_this_project_are_right(form):
    with form():
        for norm in ("batch_norm", "layer_norm"):
            assert found(networks.mlp((2, 2), 2, (4, 4), norm)) == []
            assert found(conv2((20, 20, 1), 3, 2, norm)) == []
            assert found(conv2((20, 20, 1), 3, 2, norm, max_pool=True, flatten=True)) == []


def test_models_and_tensorflow_are_left_as_they_were():
    model = keras.Sequential([keras.Input((4,)), L.Dense(4), L.Activation("softsign"), L.Dense(2)])
    numbers, attributes = [v.numpy() for v in model.variables], [set(vars(layer)) for layer in model._flatten_layers()]
    look_up = ops.get_gradient_function
    assert len(found(model)) == 1
    assert all((a == b.numpy()).all() for a, b in zip(numbers, model.variables, strict=True))
    assert attributes == [set(vars(layer)) for layer in model._flatten_layers()]
    assert look_up is ops.get_gradient_function


def test_within_a_function_that_is_traced():
    model = keras.Sequential([keras.Input((4,)), L.Dense(4), L.BatchNormalization(), L.Dense(2)])
    kinds = []

    @tf.function
    def step(x):
        kinds.extend(finding.kind for finding in found(model, inputs=[x]))
        return model(x)

    step(tf.ones([3, 4]))
    assert kinds == ["BatchNormalization"]


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (
            Finding("bn", "BatchNormalization", "StopGradient", False),
            r"layer 'bn' \(BatchNormalization\) has wrong second derivatives .*BatchNorm, or .* first_order=True",
        ),
        (
            Finding("gn", "GroupNormalization", "StopGradient", False),
            r"layer 'gn' \(GroupNormalization\) has wrong second derivatives .*BatchNorm, or .* first_order=True",
        ),
        (
            Finding("up", "UpSampling2D", "ResizeBilinearGrad", False),
            r"layer 'up' \(UpSampling2D\) has wrong .* \(ResizeBilinearGrad\).*\"nearest\".* or first_order=True",
        ),
        (
            Finding("a", "Activation", "SoftsignGrad", True),
            r"layer 'a' \(Activation\) has no second derivative in TensorFlow \(SoftsignGrad\), so second-order",
        ),
        (Finding("r", "Resizing", "ResizeArea", True, 1), r"layer 'r' \(Resizing\) has no derivative in TensorFlow"),
    ],
)
def test_sentences(finding, expected):
    assert re.search(expected, sentence(finding))


@pytest.mark.parametrize("reason", ["no input of a single shape", "no other number of examples"])
def test_a_model_that_can_be_traced_only_for_its_tasks_is_looked_at_then(reason):
    class Stacked(keras.Model):
        def __init__(self):
            super().__init__()
            self.stack = [L.Dense(3), L.LayerNormalization(name="culprit"), L.Dense(1)]
            if reason == "no input of a single shape":
                self.get_build_config = lambda: None

        def call(self, x):
            if reason == "no other number of examples" and x.shape[0] is None:
                raise TypeError("how many examples?")
            for layer in self.stack:
                x = layer(x)
            return x

    model = Stacked()
    model(np.ones((5, 3)))
    maml = MAML(model, losses.mse, task_axis="map", jit=False, optimizer="sgd")
    tasks = Tasks(*(np.ones((2, 5, n)) for n in (3, 1, 3, 1)))
    with pytest.warns(UserWarning, match="'culprit' .LayerNormalization.* has wrong second derivatives"):
        maml.train_step(tasks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maml.train_step(tasks)
