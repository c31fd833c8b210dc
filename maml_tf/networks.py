"""The paper's networks as Keras models."""

import keras

from maml_tf import layers

CHANNELS_LAST = "channels_last"  # whatever the user's keras.json says
NORMS = ("batch_norm", "layer_norm", "None")


def mlp(input_shape, outputs, hidden=(40, 40), norm="None", dtype="float32"):
    """A fully connected ReLU network; weights start as truncated normals of standard deviation 0.01, biases at 0.

    Args:
        input_shape: shape of one example; flattened.
        outputs: number of outputs.
        hidden: units per hidden layer: (40, 40) for the sinusoid, (256, 128, 64, 64) for Omniglot.
        norm: one of NORMS, applied before each ReLU.
        dtype: of weights and computation.

    Returns:
        A built keras.Model, [batch, *input_shape] -> [batch, outputs].
    """
    x = inputs = keras.Input(input_shape, dtype=dtype)
    if len(input_shape) > 1:
        x = keras.layers.Flatten(data_format=CHANNELS_LAST, dtype=dtype)(x)
    for i, units in enumerate(hidden, start=1):
        x = _dense(units, f"dense{i}", dtype)(x)
        x = keras.layers.ReLU(dtype=dtype)(_normalised(x, norm, i, dtype))
    return keras.Model(inputs, _dense(outputs, "output", dtype)(x), name="mlp")


def conv4(input_shape, outputs, filters=64, norm="batch_norm", max_pool=False, flatten=False, dtype="float32"):
    """Four 3x3 convolutions, each normalised and rectified, and a linear output.

    Args:
        input_shape: (height, width, channels).
        outputs: number of outputs.
        filters: of every convolution.
        norm: one of NORMS.
        max_pool: halve the maps by 2x2 max-pooling rather than by strides.
        flatten: feed the output layer all positions, and draw its weights Xavier-uniform, as the original does for
            miniImagenet; otherwise feed it the mean over positions and draw its weights from N(0, 1), as for Omniglot.
        dtype: of weights and computation.

    Returns:
        A built keras.Model, [batch, height, width, channels] -> [batch, outputs].
    """
    x = inputs = keras.Input(input_shape, dtype=dtype)
    for i in range(1, 5):
        x = _conv_block(x, i, filters, norm, max_pool, dtype)
    if flatten:
        x = keras.layers.Flatten(data_format=CHANNELS_LAST, dtype=dtype)(x)
    else:
        x = keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, dtype=dtype)(x)
    initializer = "glorot_uniform" if flatten else keras.initializers.RandomNormal(stddev=1.0)
    return keras.Model(inputs, _dense(outputs, "output", dtype, initializer)(x), name="conv4")


def _conv_block(x, i, filters, norm, max_pool, dtype):
    # Batch normalisation subtracts the bias again; the variable stays, so that the weights are those of the original.
    settings = {"strides": 1 if max_pool else 2, "bias_cancels": norm == "batch_norm", "dtype": dtype}
    relu = keras.layers.ReLU(dtype=dtype)
    if not max_pool:
        return relu(_normalised(layers.Conv2D(filters, name=f"conv{i}", **settings)(x), norm, i, dtype))
    if norm == "batch_norm" and i == 1:
        maps, *moments = layers.Conv2D(filters, moments="patches", pool=True, name=f"conv{i}", **settings)(x)
        return relu(_norm_layer(norm, i, dtype)(maps, *moments))
    pool = layers.MaxPool2x2(name=f"pool{i}", dtype=dtype)
    if norm != "batch_norm":
        return pool(relu(_normalised(layers.Conv2D(filters, name=f"conv{i}", **settings)(x), norm, i, dtype)))
    x, *moments = layers.Conv2D(filters, moments="output", name=f"conv{i}", **settings)(x)
    return relu(_norm_layer(norm, i, dtype)(pool(x), *moments))


def _normalised(x, norm, i, dtype):
    return x if norm == "None" else _norm_layer(norm, i, dtype)(x)


def _norm_layer(norm, i, dtype):
    kind = {"batch_norm": layers.BatchNorm, "layer_norm": layers.LayerNorm}[norm]
    return kind(name=f"norm{i}", dtype=dtype)


def _dense(units, name, dtype, initializer=None):
    initializer = initializer or keras.initializers.TruncatedNormal(stddev=0.01)
    return keras.layers.Dense(units, kernel_initializer=initializer, name=name, dtype=dtype)
