"""Tests that `MAML.save` and `MAML.load` restore the meta-learner."""

import errno
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import maml_tf
from data_generators.errors import UserError
from maml_tf import MAML, inner_optimizers, layers, losses
from maml_tf.encoding import decoded, encoded
from maml_tf.optimizers import decayed
from tests.maml_tf.small_models import assert_same, maml, model, network, tasks

KINDS = {
    "learned step sizes": {"learn_step_size": "per_weight", "step_size": (0.01, 0.1)},
    "one step size": {"learn_step_size": False, "step_size": np.float32(0.3), "first_order": True, "num_updates": 2},
    "Reptile": {"learn_step_size": False, "algorithm": "reptile", "inner_optimizer": "adam", "minibatch": 2},
    "names": {"loss": "mae", "optimizer": "rmsprop", "accuracy": "mse", "adapts": "body"},
    "Keras's": {
        "loss": keras.losses.Huber(0.5),
        "accuracy": keras.metrics.MeanAbsoluteError(name="far"),
        "first_order": True,
    },
    "Keras's function": {
        "loss": keras.losses.mean_absolute_error,
        "accuracy": {"own": losses.mse},
        "first_order": True,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_training_resumes_bit_for_bit(kind, tmp_path):
    made = maml(network(dropout=0.2), task_axis="map", **{"num_updates": 1, **KINDS[kind]})
    made.train_step(tasks(0))
    if kind == "names":
        made.pretrain_step(tasks(1))
    loaded = maml_tf.load(made.save(tmp_path / "of.maml"))
    for each in (made, loaded):
        if kind == "names":
            each.pretrain_step(tasks(2))
        metrics = each.train_step(tasks(3))
    assert_same(made, loaded)
    assert metrics.keys() == made.train_step(tasks(4)).keys()
    assert loaded.num_updates == made.num_updates
    assert loaded.learner.first_order == made.learner.first_order


def test_normalisation_statistics_and_frozen_layers(tmp_path):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3), layers.BatchNorm(), keras.layers.Dense(1)])
    net.layers[0].trainable = False
    made = maml(net, learn_step_size=False, num_updates=1, task_axis="map")
    made.train_step(tasks(0))
    loaded = MAML.load(made.save(tmp_path / "of.maml"))
    assert_same(made, loaded)
    assert len(loaded.weights) == len(made.weights)
    assert_same(*(each for each in (made, loaded) if each.train_step(tasks(1))))


def test_variables_that_are_frozen_by_themselves(tmp_path):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    net.layers[0].kernel.trainable = False
    made = maml(net, learn_step_size=False, num_updates=1, task_axis="map")
    made.train_step(tasks(0))
    loaded = MAML.load(made.save(tmp_path / "of.maml"))
    assert_same(made, loaded)
    assert_same(*(each for each in (made, loaded) if each.train_step(tasks(1))))
    np.testing.assert_array_equal(loaded.model.layers[0].kernel, net.layers[0].kernel)
    with pytest.raises(UserError, match="is of a network with other frozen weights: freeze the same"):
        MAML.load(tmp_path / "of.maml", model=keras.models.clone_model(net))
    net.layers[1].trainable = False
    with pytest.raises(UserError, match="was frozen too late"):
        made.save(tmp_path / "frozen.maml")


@pytest.mark.parametrize("algorithm", ["maml", "reptile"])
def test_an_optimizer_that_is_given_continues_at_its_own_learning_rate(tmp_path, algorithm):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made = MAML(net, "mse", algorithm=algorithm, task_axis="map", jit=False)
    made.train_step(tasks(0))
    file = made.save(tmp_path / "of.maml")
    kind, other = (keras.optimizers.SGD, "adam") if algorithm == "reptile" else (keras.optimizers.Adam, "adamax")
    loaded = MAML.load(file, optimizer=kind(0.25))
    assert float(loaded.optimizer.learning_rate) == 0.25
    assert int(loaded.optimizer.iterations) == 1
    assert float(MAML.load(file).optimizer.learning_rate) == float(made.optimizer.learning_rate) != 0.25
    with pytest.raises(UserError, match=r"leave (it|optimizer) out"):
        MAML.load(file, optimizer=other)


class OwnAdam(keras.optimizers.Adam):
    """An optimizer of a user, which a file names only."""


def test_an_own_optimizer_continues_too(tmp_path):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made = MAML(net, "mse", task_axis="map", jit=False, optimizer=OwnAdam(0.5))
    made.train_step(tasks(0))
    file = made.save(tmp_path / "of.maml")
    with pytest.raises(UserError, match="cannot hold the optimizer OwnAdam: give it"):
        MAML.load(file)
    loaded = MAML.load(file, optimizer=OwnAdam(0.25))
    assert (float(loaded.optimizer.learning_rate), int(loaded.optimizer.iterations)) == (0.25, 1)
    with keras.saving.custom_object_scope({"OwnAdam": OwnAdam}):
        assert float(MAML.load(file, optimizer=OwnAdam(0.125)).optimizer.learning_rate) == 0.125


def test_a_schedule_of_the_learning_rate_is_saved(tmp_path):
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made = MAML(net, "mse", task_axis="map", jit=False, optimizer=maml_tf.adam(decayed(0.1, "cosine", 10)))
    made.train_step(tasks(0))
    loaded = MAML.load(made.save(tmp_path / "of.maml"))
    assert_same(*(each for each in (made, loaded) if each.train_step(tasks(1))))


def test_the_maml_of_a_model(tmp_path):
    made = model(network(dropout=0.2), task_axis="map", num_updates=1)
    made.fit(tasks(0), verbose=0)
    loaded = MAML.load(made.maml.save(tmp_path / "of.maml"))
    assert_same(made, loaded)
    assert_same(*(each for each in (made.maml, loaded) if each.train_step(tasks(1))))


def test_what_is_of_ones_own_must_be_given(tmp_path):
    def own(outputs, targets):
        return keras.ops.mean(keras.ops.abs(outputs - targets))

    path = maml(loss=own, query_weights=lambda done: [0.5, 0.5]).save(tmp_path / "of.maml")
    with pytest.raises(UserError, match=r"cannot hold the query_weights <lambda>: give it, load\(path, query_weights="):
        MAML.load(path, loss=own)
    with pytest.raises(UserError, match=r"cannot hold the loss own: give it, load\(path, loss="):
        MAML.load(path, query_weights=None)
    assert MAML.load(path, loss=own, query_weights=None, num_updates=3).num_updates == 3


def test_a_function_named_as_one_of_keras_is_not_taken_for_it():
    def mse(outputs, targets):
        return 0.0

    assert encoded([mse, keras.losses.mean_squared_error])[0] == {"@own": "mse"}
    assert decoded(encoded(keras.losses.mean_squared_error)) is keras.losses.mean_squared_error
    assert encoded(inner_optimizers.momentum(0.5)) == {"@own": "InnerOptimizer"}
    assert decoded(encoded({"own": losses.mse, "pair": (1, 2.5, None)})) == {"own": losses.mse, "pair": (1, 2.5, None)}


class Own(keras.Model):
    """A network that Keras cannot describe."""

    def __init__(self, activation):
        super().__init__()
        self.dense = keras.layers.Dense(1, activation)

    def call(self, x):
        return self.dense(x)


def test_a_network_of_ones_own_is_given(tmp_path):
    def built():
        net = Own(lambda x: x)
        net(np.ones((1, 1)))
        return net

    made = maml(built(), num_updates=1, task_axis="map")
    made.train_step(tasks(0))
    path = made.save(tmp_path / "of.maml")
    with pytest.raises(UserError, match=r"cannot make the network .*give load\(path, model=\.\.\.\)"):
        MAML.load(path)
    assert_same(made, MAML.load(path, model=built()))
    with pytest.raises(UserError, match="give the network that it was saved with"):
        MAML.load(path, model=network())


def spoilt(path, spoil):
    """Copies a saved MAML, with each of its files changed by `spoil`, or left out; returns the path of the copy."""
    copy = path.with_name("spoilt.maml")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(copy, "w") as part:
        for name in whole.namelist():
            if (content := spoil(name, whole.read(name))) is not None:
                part.writestr(name, content)
    return copy


def test_damaged_and_foreign_files_are_refused_in_one_sentence(tmp_path):
    path = maml().save(tmp_path / "of.maml")
    for bad in ("maml.json", "network.weights.h5", "state.npz"):
        with pytest.raises(UserError, match="give "):
            MAML.load(spoilt(path, lambda name, content, bad=bad: None if name == bad else content))
        with pytest.raises(UserError, match="give "):
            MAML.load(spoilt(path, lambda name, content, bad=bad: content[:40] if name == bad else content))
    later = json.dumps({"format": 2, "settings": {}, "network": None})
    with pytest.raises(UserError, match="later version: update"):
        MAML.load(spoilt(path, lambda name, content: later if name == "maml.json" else content))
    (tmp_path / "text").write_text("no zip")
    for foreign in (tmp_path / "text", tmp_path / "nothing", tmp_path):
        with pytest.raises(UserError, match=r"give a file that MAML\.save wrote"):
            MAML.load(foreign)
    with pytest.raises(UserError, match="cannot write"):
        maml().save(tmp_path)


def test_what_stood_there_stays_until_the_file_is_whole(tmp_path, monkeypatch):
    path = maml().save(tmp_path / "of.maml")
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", lambda *arrays: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        maml().save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["of.maml"]


def test_arguments_that_do_not_fit_what_was_learned_are_refused(tmp_path):
    learned = maml(learn_step_size="per_update", num_updates=2).save(tmp_path / "learned.maml")
    with pytest.raises(UserError, match="holds the step sizes that were learned: leave step_size out"):
        MAML.load(learned, step_size=0.5)
    for given in ({"optimizer": "sgd"}, {"num_updates": 3}, {"learn_step_size": False}):
        with pytest.raises(UserError, match=f"does not fit {next(iter(given))}: leave it out, or make a new MAML"):
            MAML.load(learned, **given)
    assert MAML.load(learned, first_order=True).learner.first_order


def test_a_lambda_is_noted_without_a_warning(recwarn):
    assert encoded(lambda y_true, y_pred: y_true) == {"@own": "<lambda>"}
    assert not recwarn.list


def pinball(y_true, y_pred):
    error = y_true - y_pred
    return ops.mean(ops.maximum(0.9 * error, -0.1 * error))


@keras.saving.register_keras_serializable("tests")
def registered_pinball(y_true, y_pred):
    return pinball(y_true, y_pred)


@pytest.mark.parametrize("function", [pinball, registered_pinball])
def test_an_own_function_of_a_maml_model_keeps_the_order_of_its_arguments(function, tmp_path):
    made = model(network(), function, [function], first_order=True, task_axis="map", num_updates=1).maml
    path = made.save(tmp_path / "of.maml")
    expected = made.evaluate(tasks(1), 1)
    own = {"loss": function, "accuracy": {function.__name__: function}} if function is pinball else {}
    again = maml_tf.load(maml_tf.load(path, **own).save(path), **own)
    for name, values in again.evaluate(tasks(1), 1).items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_list_of_step_sizes(tmp_path):
    sizes = [0.1, 0.2, 0.3, 0.4]
    made = maml(learn_step_size=False, step_size=sizes, first_order=True)
    assert maml_tf.load(made.save(tmp_path / "of.maml")).step_size == sizes


@pytest.mark.parametrize("mode", ["multi_hot", "tf_idf"])
def test_a_vocabulary_is_saved_with_the_layer_that_has_learned_it(mode, tmp_path):
    words = keras.layers.TextVectorization(max_tokens=9, output_mode=mode)
    words.adapt(["the cat sat", "the dog ran"])
    net = keras.Sequential([keras.Input((1,), dtype="string"), words, keras.layers.Dense(1)])
    made = MAML(net, "mse", task_axis="map", jit=False, first_order=True)
    texts = tf.constant([["the cat"], ["a dog"]])
    expected = made.predict(texts)
    loaded = maml_tf.load(made.save(tmp_path / "of.maml"))
    np.testing.assert_array_equal(loaded.predict(texts), expected)
    np.testing.assert_array_equal(maml_tf.load(loaded.save(tmp_path / "2"), model=net).predict(texts), expected)
