"""Tests that an adapted model is an ordinary keras.Model: it predicts as MAML does, saves, and changes no MAML."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import layers, losses
from maml_tf.maml import MAML
from tests.maml_tf.small_models import conv2

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
X, QUERIES = (RNG.normal(size=(n, 12, 12, 1)).astype(np.float32) for n in (6, 5))
Y = np.eye(2, dtype=np.float32)[[0, 1] * 3]


class Subclassed(keras.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(units)
        self.norm, self.dropout, self.head = layers.BatchNorm(), keras.layers.Dropout(0.5), keras.layers.Dense(2)

    def call(self, x):
        return self.head(self.dropout(self.norm(self.dense(self.flatten(x)))))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class NoConfig(Subclassed):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)

    def get_config(self):
        return {}


def built(model):
    model(X[:1], training=False)
    return model


def nested():
    inputs = keras.Input((12, 12, 1))
    return keras.Model(inputs, Subclassed()(inputs))


def stock():
    middle = keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)
    return keras.Sequential([keras.Input((12, 12, 1)), *middle, keras.layers.Flatten(), keras.layers.Dense(2)])


def frozen():
    model = stock()
    model.layers[0].trainable = False
    return model


def normalised():
    norm = keras.layers.Normalization()
    norm.adapt(3 * X + 2)
    return keras.Sequential([keras.Input((12, 12, 1)), norm, keras.layers.Flatten(), keras.layers.Dense(2)])


KINDS = {
    "conv2": lambda: conv2((12, 12, 1), 2, 4),
    "per update": lambda: conv2((12, 12, 1), 2, 4, norm="per_update_batch_norm", num_updates=2),
    "stock": stock,
    "frozen": frozen,
    "subclassed": lambda: built(Subclassed()),
    "nested": nested,
    "normalised": normalised,
}


def maml_of(model):
    return MAML(model, losses.SoftmaxCrossEntropy(), step_size=0.1, num_updates=2, first_order=True)


@pytest.fixture(scope="module")
def of_images():
    """A convolutional MAML for the tests that need one."""
    keras.utils.set_random_seed(0)
    return maml_of(KINDS["conv2"]())


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapted_model_predicts_as_maml_does(kind, of_images):
    keras.utils.set_random_seed(0)
    maml = of_images if kind == "conv2" else maml_of(KINDS[kind]())
    before = [v.numpy() for v in maml.model.variables]
    expected = maml.predict(QUERIES, maml.adapt(X, Y, 3, 0.2)).numpy()
    model = maml.adapted_model(X, Y, num_updates=3, step_size=0.2)
    assert type(model) is type(maml.model)
    for _ in range(2):  # a prediction changes nothing
        np.testing.assert_array_equal(model(QUERIES), expected)
        np.testing.assert_array_equal(model.predict(QUERIES, verbose=0), expected)
    np.testing.assert_allclose(model(QUERIES[:1]), expected[:1], rtol=1e-4, atol=1e-5)  # whatever the other queries are
    assert all(np.array_equal(v, value) for v, value in zip(maml.model.variables, before, strict=True))
    assert np.abs(maml.predict(QUERIES) - expected).max() > 0.01
    usual = maml.predict(QUERIES, maml.adapt(X, Y)).numpy()
    np.testing.assert_array_equal(maml.adapted_model(X, Y)(QUERIES), usual)


def test_an_adapted_model_loads_where_only_the_layers_are_imported(of_images, tmp_path):
    """Keras runs on TensorFlow there, although another backend is chosen, which the environment still names."""
    of_images.adapted_model(X, Y).save(tmp_path / "task.keras")
    np.save(tmp_path / "x.npy", QUERIES)
    code = "import sys, numpy as np, maml_tf.layers, keras\nmodel = keras.models.load_model('task.keras')\n"
    code += "x = np.load('x.npy')\nnp.save('y.npy', model(x))\n"
    code += "np.testing.assert_array_equal(model.predict(x), model(x))\n"
    code += "assert 'maml_tf.maml' not in sys.modules\nimport os\n"
    code += "print(keras.backend.backend(), os.environ['KERAS_BACKEND'])"
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "tensorflow jax"
    expected = of_images.predict(QUERIES, of_images.adapt(X, Y))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-5, atol=1e-6)


def test_an_adapted_model_is_trained_further_as_any_model(of_images):
    model = of_images.adapted_model(X, Y)
    kept = next(layer for layer in model.layers if isinstance(layer, layers.BatchNorm)).mean.numpy()
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(2 * X + 1, Y, verbose=0)  # not X, whose statistics the model has already
    norm = next(layer for layer in model.layers if isinstance(layer, layers.BatchNorm))
    assert norm.inductive
    assert np.abs(norm.mean - kept).max() > 0.01  # updated by the batch, as in any training


def test_a_model_that_keras_cannot_clone_is_refused_in_one_sentence():
    maml = maml_of(built(NoConfig(3)))
    with pytest.raises(UserError, match=r"Keras cannot clone model .*: give its class, .* a get_config"):
        maml.adapted_model(X, Y)


@pytest.mark.parametrize("mode", ["multi_hot", "tf_idf"])
def test_an_adapted_model_has_the_vocabulary(mode):
    words = keras.layers.TextVectorization(max_tokens=9, output_mode=mode)
    words.adapt(["the cat sat", "the dog ran"])
    maml = maml_of(keras.Sequential([keras.Input((1,), dtype="string"), words, keras.layers.Dense(2)]))
    x, y = tf.constant([["the cat"], ["a dog"]]), np.eye(2, dtype=np.float32)
    expected = maml.predict(x, maml.adapt(x, y))
    np.testing.assert_array_equal(maml.adapted_model(x, y)(x), expected)
