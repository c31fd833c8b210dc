"""Every stock Keras layer that can stand between weights and loss, each in its own small model."""

from functools import partial
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import layers as L

VECTOR, SEQUENCE, IMAGE, VOLUME, FILM = (6,), (6, 4), (6, 6, 3), (4, 4, 4, 2), (2, 4, 4, 2)
SHAPES = {"1D": SEQUENCE, "2D": IMAGE, "3D": VOLUME}
COLOURS = (-1, 1)

ACTIVATIONS = """
    celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid log_softmax
    mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax
    squareplus tanh tanh_shrink
"""
ELEMENTWISE = "ReLU LeakyReLU PReLU ELU Softmax Flatten Identity Masking"
NORMALISATIONS = "LayerNormalization RMSNormalization UnitNormalization"
MERGING = "Add Subtract Multiply Average Maximum Minimum Concatenate"
INTERPOLATIONS = "nearest bilinear bicubic lanczos3 lanczos5"
RANDOM = {
    "Dropout": (0.4,),
    "GaussianDropout": (0.4,),
    "GaussianNoise": (0.4,),
    "AlphaDropout": (0.4,),
    "SpatialDropout2D": (0.4,),
    "RandomBrightness": (0.4, COLOURS),
    "RandomColorDegeneration": (0.5, COLOURS),
    "RandomColorJitter": (COLOURS, 0.5, 0.5, 0.5, 0.5),
    "RandomContrast": (0.4,),
    "RandomCrop": (8, 8),
    "RandomElasticTransform": (1.0,),
    "RandomErasing": (),
    "RandomFlip": (),
    "RandomGaussianBlur": (1.0,),
    "RandomGrayscale": (1.0,),
    "RandomHue": (0.5, COLOURS),
    "RandomInvert": (1.0, COLOURS),
    "RandomPerspective": (1.0, 0.3),
    "RandomPosterization": (4, COLOURS),
    "RandomRotation": (0.2,),
    "RandomSaturation": (0.5, COLOURS),
    "RandomSharpness": (0.5, COLOURS),
    "RandomShear": (0.4, 0.4),
    "RandomTranslation": (0.2, 0.2),
    "RandomZoom": (0.3,),
    "CutMix": (),
    "MixUp": (),
    "Solarization": (0.5, 0.1, COLOURS),
}
NOISE = ("Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout")
# Layers that on CPU compute only in float32.
FLOAT32 = ("Pooling3D", "lanczos", "LoRA", "RandomRotation", "RandAugment", "AugMix")


class Case(NamedTuple):
    """A layer to test.

    shape: shape of an example.
    make: function without arguments -> the layer, or a function of its input, to put between weights.
    """

    shape: tuple
    make: object


class Discrete(L.Layer):
    """Scales its input by the output of a layer that takes integers (`ends` is "at") or returns integers ("of")."""

    def __init__(self, layer, ends):
        super().__init__()
        self.layer, self.ends = layer, ends

    def call(self, x):
        integers = tf.cast(tf.round(4 * x), "int64") % 9
        y = tf.cast(self.layer(integers if self.ends == "at" else x), x.dtype)
        return x * (1 + tf.reduce_mean(tf.reshape(y, [tf.shape(x)[0], -1]), 1, keepdims=True))


def case(name):
    """Returns a case by its name."""
    return _CASES[name]


def names():
    """Returns the names of all cases."""
    return list(_CASES)


def dtype(name):
    """Returns the dtype in which a case computes."""
    return "float32" if any(part in name for part in FLOAT32) else "float64"


def model(name, before="tanh"):
    """Returns a model with the case between a dense layer with the activation `before` and a linear layer."""
    shape, make = case(name)
    inputs = keras.Input(shape)
    x = make()(L.Dense(shape[-1], activation=before, name="before")(inputs))
    return keras.Model(inputs, L.Dense(2, name="after")(L.Flatten()(x)))


def _layer(shape, kind, *args, **kwargs):
    return Case(shape, partial(getattr(L, kind), *args, **kwargs))


def _each(kinds, shape, *args, **kwargs):
    return {kind: _layer(shape, kind, *args, **kwargs) for kind in kinds.split()}


def _by_dimension(kinds, *args, **kwargs):
    names = {f"{kind}{d}": shape for kind in kinds.split() for d, shape in SHAPES.items()}
    return {name: _layer(shape, name, *args, **kwargs) for name, shape in names.items() if hasattr(L, name)}


def _two(shape, kind, *args, **kwargs):
    return Case(shape, lambda: lambda x: getattr(L, kind)(*args, **kwargs)([x, keras.ops.tanh(2 * x)]))


def _itself(kind, *args, **call):
    return Case(SEQUENCE, lambda: lambda x: getattr(L, kind)(*args)(x, x, **call))


def _wrapped(shape, wrapper, inner):
    return Case(shape, lambda: getattr(L, wrapper)(inner()))


def _recurrent():
    found = {}
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        found[kind] = _layer(SEQUENCE, kind, 3)
        found[f"{kind} unrolled"] = _layer(SEQUENCE, kind, 3, unroll=True)
        found[f"Bidirectional {kind}"] = _wrapped(SEQUENCE, "Bidirectional", partial(getattr(L, kind), 3))
        found[f"RNN {kind}Cell"] = _wrapped(SEQUENCE, "RNN", partial(getattr(L, f"{kind}Cell"), 3))
    found["GRU reset before"] = _layer(SEQUENCE, "GRU", 3, reset_after=False)
    found["LSTM dropout"] = _layer(SEQUENCE, "LSTM", 3, dropout=0.3, recurrent_dropout=0.3, seed=3)
    found["LSTM masked"] = Case(SEQUENCE, lambda: lambda x: L.LSTM(3)(L.Masking()(x)))
    found["RNN StackedRNNCells"] = _wrapped(SEQUENCE, "RNN", lambda: [L.GRUCell(3), L.LSTMCell(2)])
    for d, shape in SHAPES.items():
        found[f"ConvLSTM{d}"] = _layer((2, *shape), f"ConvLSTM{d}", 2, 2)
    return found


def _all():
    found = {f"Activation {a}": _layer(VECTOR, "Activation", a) for a in ACTIVATIONS.split()}
    found["Lambda glu"] = Case(VECTOR, lambda: L.Lambda(keras.activations.glu, output_shape=(3,)))
    found["Lambda threshold"] = Case(VECTOR, lambda: L.Lambda(lambda x: keras.activations.threshold(x, 0.1, 0.2)))
    found |= _each(ELEMENTWISE, SEQUENCE) | _each(NORMALISATIONS, SEQUENCE) | _each("BatchNormalization", IMAGE)
    found["BatchNormalization renorm"] = _layer(VECTOR, "BatchNormalization", renorm=True)
    found["GroupNormalization"] = _layer(SEQUENCE, "GroupNormalization", 2)
    found["SpectralNormalization"] = _wrapped(VECTOR, "SpectralNormalization", partial(L.Dense, 3))
    found["SpectralNormalization Conv2D"] = _wrapped(IMAGE, "SpectralNormalization", partial(L.Conv2D, 3, 3))
    found |= {kind: _two(VECTOR, kind) for kind in MERGING.split()} | {"Dot": _two(SEQUENCE, "Dot", (2, 2))}
    found |= _by_dimension("MaxPooling AveragePooling UpSampling AdaptiveAveragePooling AdaptiveMaxPooling", 2)
    found |= _by_dimension("ZeroPadding GlobalAveragePooling GlobalMaxPooling") | _by_dimension("Cropping", 1)
    found |= _by_dimension("Conv SeparableConv", 2, 3) | _by_dimension("DepthwiseConv", 3)
    found |= {f"Conv{d}Transpose": _layer(shape, f"Conv{d}Transpose", 2, 3, 2) for d, shape in SHAPES.items()}
    found["Conv2D dilated"] = _layer(IMAGE, "Conv2D", 2, 2, dilation_rate=2)
    for kind, args in (("Conv2D", (2, 3)), ("MaxPooling2D", (3,)), ("AveragePooling2D", (3,))):
        found[f"{kind} strided"] = _layer(IMAGE, kind, *args, strides=2, padding="same")
    for how in INTERPOLATIONS.split():
        found[f"UpSampling2D {how}"] = _layer(IMAGE, "UpSampling2D", interpolation=how)
    for how in [*INTERPOLATIONS.split(), "area"]:
        found[f"Resizing {how}"] = _layer(IMAGE, "Resizing", 4, 4, interpolation=how)
    found |= {"CenterCrop": _layer(IMAGE, "CenterCrop", 4, 4), "CenterCrop larger": _layer(IMAGE, "CenterCrop", 8, 8)}
    found |= {
        "Rescaling": _layer(IMAGE, "Rescaling", 2.0, 1.0),
        "Normalization": _layer(VECTOR, "Normalization", -1, 0, 2),
    }
    found |= _each("ActivityRegularization", VECTOR, 0.1, 0.1) | _each("RepeatVector", VECTOR, 3)
    found |= _each("Permute", SEQUENCE, (2, 1)) | _each("Reshape", VECTOR, (2, 3)) | _recurrent()
    found["TimeDistributed Dense"] = _wrapped(SEQUENCE, "TimeDistributed", partial(L.Dense, 3))
    found["TimeDistributed Conv2D"] = _wrapped(FILM, "TimeDistributed", partial(L.Conv2D, 2, 3))
    found["TimeDistributed LayerNormalization"] = _wrapped(SEQUENCE, "TimeDistributed", L.LayerNormalization)
    bilinear = partial(L.UpSampling2D, interpolation="bilinear")
    found["TimeDistributed UpSampling2D bilinear"] = _wrapped(FILM, "TimeDistributed", bilinear)
    found["MultiHeadAttention"] = _itself("MultiHeadAttention", 2, 3)
    found["MultiHeadAttention causal"] = _itself("MultiHeadAttention", 2, 3, use_causal_mask=True)
    found["GroupQueryAttention"] = _itself("GroupQueryAttention", 3, 4, 2)
    found |= {"Attention": _two(SEQUENCE, "Attention", True), "AdditiveAttention": _two(SEQUENCE, "AdditiveAttention")}
    found |= {"Dense": _layer(VECTOR, "Dense", 3), "Dense with LoRA": _layer(VECTOR, "Dense", 3, lora_rank=1)}
    found["EinsumDense"] = _layer(SEQUENCE, "EinsumDense", "abc,cd->abd", (6, 3), bias_axes="d")
    for kind, args in (
        ("Embedding", (9, 3)),
        ("ReversibleEmbedding", (9, 3)),
        ("CategoryEncoding", (9,)),
        ("Hashing", (9,)),
    ):
        if hasattr(L, kind):
            found[kind] = Case(VECTOR, lambda kind=kind, args=args: Discrete(getattr(L, kind)(*args), "at"))
    found["Discretization"] = Case(VECTOR, lambda: Discrete(L.Discretization([-0.5, 0.0, 0.5]), "of"))
    found["STFTSpectrogram"] = _layer((64, 1), "STFTSpectrogram", "log", 16, 8, 16, window=None)
    for kind, args in RANDOM.items():
        shape = VECTOR if kind in NOISE else IMAGE
        found[kind] = _layer(shape, kind, *args, seed=3)
    for kind in ("AutoContrast", "AugMix", "RandAugment"):
        found[kind] = _layer(IMAGE, kind, COLOURS)
    found["RandomRotation nearest"] = _layer(IMAGE, "RandomRotation", 0.2, interpolation="nearest", seed=3)
    return found


_CASES = _all()
