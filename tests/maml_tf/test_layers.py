"""Layers: values against NumPy, and their forms for the two task axes against one another."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from maml_tf import MAML, Tasks, fast_conv, layers, networks, normalisation
from maml_tf.fast_conv import max_pool_2x2
from tests.maml_tf.derivatives import derivatives, relative_error

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape)


def test_values_against_numpy():
    x = 3 + 2 * random(5, 4, 3, 2)
    batch_norm, layer_norm = layers.BatchNorm(epsilon=1e-2, dtype="float64"), layers.LayerNorm(dtype="float64")
    batch_norm.build(x.shape)
    layer_norm.build(x.shape)
    batch_norm.beta.assign([0.5, -2.0])
    layer_norm.beta.assign([0.5, -2.0])
    layer_norm.gamma.assign([3.0, 0.25])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-2) + [0.5, -2.0]
    np.testing.assert_allclose(batch_norm(x), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(batch_norm.mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(batch_norm.variance.numpy(), variance, rtol=1e-12)
    deviation = np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-12)
    expected = (x - x.mean((1, 2, 3), keepdims=True)) / deviation * [3.0, 0.25] + [0.5, -2.0]
    np.testing.assert_allclose(layer_norm(x), expected, rtol=1e-12, atol=1e-12)


def test_without_training_the_kept_statistics_normalise():
    layer = layers.BatchNorm(dtype="float64")
    first, second = random(6, 4, 4, 2), tf.constant(5 + 3 * random(2, 4, 4, 2))
    layer(first)
    expected = (second - first.mean((0, 1, 2))) / np.sqrt(first.var((0, 1, 2)) + 1e-3)
    for statistics in ((), (tf.constant([7.0, 7.0]), tf.constant([7.0, 7.0]))):
        np.testing.assert_allclose(layer(second, *statistics, training=False), expected, rtol=1e-12)
    np.testing.assert_allclose(layer.mean.numpy(), first.mean((0, 1, 2)), rtol=1e-12)


def test_pooling_first_is_normalising_and_rectifying_first():
    layer = layers.BatchNorm(dtype="float64")
    layer.build((None, 6, 6, 3))
    layer.beta.assign(random(3))

    def pool(x):
        return tf.nn.max_pool2d(x, 2, 2, "VALID")

    def pooled_first(x):
        return tf.nn.relu(layer(pool(x), *normalisation.channel_moments(x)))

    def pooled_last(x):
        return pool(tf.nn.relu(layer(x)))

    x = tf.constant(random(5, 6, 6, 3))
    weights = [random(5, 3, 3, 3), random(*x.shape), random(*x.shape)]
    assert 0 < np.mean(pooled_last(x) == 0) < 1
    np.testing.assert_allclose(pooled_first(x), pooled_last(x), rtol=1e-12, atol=1e-14)
    kept = [layer.mean.numpy(), layer.variance.numpy()]
    layer(2 * x)
    pooled_first(x)
    np.testing.assert_allclose([layer.mean.numpy(), layer.variance.numpy()], kept, rtol=1e-12)
    for first, last in zip(derivatives(pooled_first, x, weights), derivatives(pooled_last, x, weights), strict=True):
        assert relative_error(first, last) < 1e-11


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("bias_cancels", [False, True])
def test_moments_of_the_patches_are_those_of_the_output(bias_cancels, vectorised):
    x = tf.constant(2 + random(3, 6, 5, 2))
    direction = tf.constant(random(3, 3, 2, 4))
    results = {}
    for moments in ("output", "patches"):
        layer = layers.Conv2D(4, 1, bias_cancels, moments, dtype="float64")
        layer.build(x.shape)
        layer.kernel.assign(np.arange(72).reshape(3, 3, 2, 4) % 7 - 2.5)
        layer.bias.assign([1.0, -2.0, 3.0, 0.5])
        with tf.GradientTape() as outer, layers.vectorizable() if vectorised else contextlib.nullcontext():
            with tf.GradientTape() as inner:
                y, mean, variance = layer(x)
                value = tf.reduce_sum(mean**3) + tf.reduce_sum(tf.sqrt(variance) * mean) + tf.reduce_mean(y**3)
            gradient = inner.gradient(value, layer.kernel)
            slope = tf.reduce_sum(gradient * direction)
        results[moments] = [y, mean, variance, gradient, outer.gradient(slope, layer.kernel)]
    np.testing.assert_allclose(results["output"][1], results["output"][0].numpy().mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(results["output"][2], results["output"][0].numpy().var((0, 1, 2)), rtol=1e-12)
    for by_output, by_patches in zip(*results.values(), strict=True):
        np.testing.assert_allclose(by_patches, by_output, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("bias_cancels", [False, True])
@pytest.mark.parametrize(("images", "strides"), [(1, 1), (2, 1), (3, 2)])
def test_pooling_a_few_images_at_a_time_is_pooling_them_all(images, strides, bias_cancels, monkeypatch):
    x, direction = tf.constant(2 + random(6, 7, 10, 2)), tf.constant(random(3, 3, 2, 4))
    rows, columns = (-(-size // strides) for size in x.shape[1:3])
    monkeypatch.setattr(fast_conv, "_MOST_BYTES", images * rows * columns * (18 + 4) * 8)
    pool, batches = layers.MaxPool2x2(dtype="float64"), []

    def derivatives_of(moments, at_once):
        layer = layers.Conv2D(4, strides, bias_cancels, moments, pool=not at_once, dtype="float64")
        layer.build(x.shape)
        layer.kernel.assign(np.arange(72).reshape(3, 3, 2, 4) % 7 - 2.5)
        layer.bias.assign([1.0, -2.0, 3.0, 0.5])

        @tf.function
        def run():
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    y, mean, variance = layer(x)
                    y = pool(y) if at_once else y
                    value = tf.reduce_sum(mean**3) + tf.reduce_sum(tf.sqrt(variance) * mean) + tf.reduce_mean(y**3)
                gradient = inner.gradient(value, layer.kernel)
                slope = tf.reduce_sum(gradient * direction)
            return y, mean, variance, gradient, outer.gradient(slope, layer.kernel)

        return run()

    all_at_once = derivatives_of("output", True)
    monkeypatch.setattr(layers, "max_pool_2x2", lambda x: batches.append(x.shape[0]) or max_pool_2x2(x))
    for expected, actual in zip(all_at_once, derivatives_of("patches", False), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11)
    assert batches == [images] * (6 // images)


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize(
    ("strides", "jit"), [(1, False), (2, False), (2, True), pytest.param(1, True, marks=pytest.mark.slow)]
)
def test_normalising_in_the_product_is_normalising_the_output(strides, vectorised, jit):
    """The plain form is a convolution, then `BatchNorm`: values, kept statistics, two derivatives."""
    x, direction, weights = tf.constant(2 + random(3, 7, 6, 2)), random(3, 3, 2, 4), random(3, 7, 6, 4)
    results = []
    for moments, normalise in ((None, None), ("patches", layers.EPSILON)):
        conv = layers.Conv2D(4, strides, True, moments, normalise=normalise, dtype="float64")
        norm = layers.BatchNorm(normalised=normalise is not None, dtype="float64")
        conv.build(x.shape)
        conv.kernel.assign(np.arange(72).reshape(3, 3, 2, 4) % 7 - 2.5)
        norm.build((None, None, None, 4))
        norm.beta.assign([0.5, -1.0, 0.0, 2.0])

        def normalised(training, conv=conv, norm=norm):
            y = conv(x, training=training)
            return norm(*y, training=training) if conv.moments else norm(y, training=training)

        @tf.function(jit_compile=jit)
        def run(conv=conv, norm=norm, normalised=normalised):
            with tf.GradientTape() as outer, layers.vectorizable() if vectorised else contextlib.nullcontext():
                with tf.GradientTape() as inner:
                    y = normalised(training=True)
                    value = tf.reduce_sum(weights[:, : y.shape[1], : y.shape[2]] * y**3)
                gradients = inner.gradient(value, [conv.kernel, norm.beta])
                slope = tf.reduce_sum(gradients[0] * direction)
            return y, *gradients, *outer.gradient(slope, [conv.kernel, norm.beta])

        results.append([*run(), norm.mean, norm.variance, normalised(training=False)])
    for plain, fast in zip(*results, strict=True):
        assert relative_error(fast, plain) < 1e-12


def test_pooling_needs_the_moments_of_the_patches():
    with pytest.raises(ValueError, match="pool needs moments='patches', not 'output'"):
        layers.Conv2D(4, moments="output", pool=True)


@pytest.mark.parametrize("settings", [{}, {"moments": "output"}, {"moments": "patches", "pool": True}])
def test_normalising_needs_the_moments_of_the_patches(settings):
    with pytest.raises(ValueError, match="normalise needs moments='patches', and no pool"):
        layers.Conv2D(4, normalise=1e-3, **settings)


def test_unknown_moments_are_refused():
    with pytest.raises(ValueError, match="moments must be None, 'output' or 'patches', not 'input'"):
        layers.Conv2D(4, moments="input")


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("jit", [False, True])
def test_both_forms_of_the_convolution_have_the_same_second_derivative(strides, jit):
    layer = layers.Conv2D(2, strides, dtype="float64")
    layer.build((None, 5, 4, 3))
    layer.bias.assign([0.5, -1.0])
    x = tf.constant(random(2, 5, 4, 3))
    weights = [random(*layer(x).shape), random(*x.shape), random(*x.shape)]

    def squared(x):
        return layer(x) ** 2

    @tf.function(jit_compile=jit)
    def vectorised(x):
        with layers.vectorizable():
            return [squared(x), *derivatives(squared, x, weights)[:2]]

    for actual, expected in zip(vectorised(x), [squared(x), *derivatives(squared, x, weights)[:2]], strict=True):
        assert relative_error(actual, expected) < 1e-12


@pytest.mark.parametrize("size", [(4, 6), (7, 7), (2, 3)])
@pytest.mark.parametrize("jit", [False, True])
def test_both_forms_of_max_pooling(size, jit):
    x = tf.constant(random(2, *size, 3))
    pool = layers.MaxPool2x2(dtype="float64")
    weights = [random(2, size[0] // 2, size[1] // 2, 3), random(2, *size, 3), random(2, *size, 3)]

    def cubed(x):
        return pool(x) ** 3

    @tf.function(jit_compile=jit)
    def vectorised(x):
        with layers.vectorizable():
            return [cubed(x), *derivatives(cubed, x, weights)]

    even = x.numpy()[:, : size[0] // 2 * 2, : size[1] // 2 * 2]
    windows = even.reshape(2, size[0] // 2, 2, size[1] // 2, 2, 3)
    np.testing.assert_array_equal(pool(x), windows.max((2, 4)))
    for actual, expected in zip(vectorised(x), [cubed(x), *derivatives(cubed, x, weights)], strict=True):
        assert relative_error(actual, expected) < 1e-12


@pytest.mark.parametrize(
    "build",
    [
        lambda: networks.conv4((32, 32, 1), 5, 4, "batch_norm", max_pool=True, flatten=True),
        lambda: networks.conv4((14, 14, 1), 5, 4, "layer_norm"),
        lambda: networks.conv4((14, 14, 1), 5, 4, "per_update_batch_norm"),
        lambda: networks.mlp((1,), 1, (8, 8), "batch_norm"),
        lambda: networks.mlp((4, 3), 2, (8,), "layer_norm", dtype="float64"),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # inside Keras
def test_saving_and_loading_a_network(build, tmp_path):
    model = build()
    for weight in model.weights:
        weight.assign(np.abs(random(*weight.shape)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.get_config() for layer in loaded.layers[1:]] == [layer.get_config() for layer in model.layers[1:]]
    assert [w.path for w in loaded.weights] == [w.path for w in model.weights]
    x = random(6, *model.input_shape[1:])
    for training in (False, True):
        np.testing.assert_array_equal(loaded(x, training=training), model(x, training=training))


def test_under_mixed_precision_moments_are_those_of_the_weights_dtype():
    x = np.array([[0.0], [600.0]])  # whose variance float16 cannot hold
    np.testing.assert_allclose(layers.BatchNorm(dtype="mixed_float16")(x), [[-1.0], [1.0]])
    np.testing.assert_array_equal(layers.LayerNorm(dtype="mixed_float16")(np.zeros((2, 3))), np.zeros((2, 3)))
    images = np.random.default_rng(0).uniform(0, 300, (8, 84, 84, 3))
    for moments in ("output", "patches"):
        normalised = {}
        for dtype in ("float32", "mixed_float16"):
            keras.utils.set_random_seed(0)
            convolution = layers.Conv2D(2, moments=moments, dtype=dtype)
            normalised[dtype] = layers.BatchNorm(dtype=dtype)(*convolution(images))
        assert normalised["mixed_float16"].dtype == tf.float16
        difference = tf.cast(normalised["mixed_float16"], tf.float32) - normalised["float32"]
        assert float(tf.reduce_max(tf.abs(difference))) < 0.02


def test_penalties_of_a_layer_in_float16_are_added_up():
    first = keras.layers.Dense(3, activity_regularizer="l2", kernel_regularizer="l2", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((1,)), first, keras.layers.Dense(1)])
    maml = MAML(model, "mse", first_order=True, task_axis="map", jit=False)
    x = np.ones((2, 3, 1))
    assert np.isfinite(maml.train_step(Tasks(x, x, x, x))["post_loss"])
