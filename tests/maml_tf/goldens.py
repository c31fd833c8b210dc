"""The original code's numbers (float64) for a few settings, as models and arrays of this project."""

import functools
import json
from pathlib import Path

import keras
import numpy as np

from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML, adam

FOLDER = Path(__file__).parents[1] / "goldens"


class Golden:
    """The inputs, initial weights and results of one setting, by the original's names (`roles`)."""

    def __init__(self, name):
        self.name = name
        self.settings, self.arrays = _read(name)
        self.flags = self.settings["all_flags"]
        self.is_image = self.flags["datasource"] != "sinusoid"

    def __getitem__(self, key):
        return self.arrays[key]

    def of_roles(self, prefix):
        """The arrays `prefix/<role>` by role, without biases before a batch norm: round-off in the original too."""
        found = {key.split("/")[1]: array for key, array in self.arrays.items() if key.startswith(f"{prefix}/")}
        return {role: array for role, array in found.items() if role not in self.dead_roles}

    @property
    def dead_roles(self):
        return ("b1", "b2", "b3", "b4") if self.is_image else ()

    @property
    def clip(self):
        """The bound to which every component of the meta-gradient is clipped, or None."""
        return 10.0 if self.flags["datasource"] == "miniimagenet" else None

    @property
    def image_shape(self):
        return (84, 84, 3) if self.flags["datasource"] == "miniimagenet" else (28, 28, 1)

    def tolerance(self, dtype):
        """Relative error allowed in losses, logits and gradients."""
        if dtype == "float64":
            return 1e-5 if self.name in ("o1", "m1") else 1e-7
        return {"o1": 1e-4, "m1": 1e-3}.get(self.name, 1e-5)  # ReLU and pooling have kinks

    def tasks(self, dtype):
        def inputs(which):
            if not self.is_image:
                return self[f"in/input{which}"].astype(dtype)
            pixels = self[f"in/input{which}_u8"].astype("float32") / np.float32(255)
            return pixels.reshape(*pixels.shape[:2], *self.image_shape).astype(dtype)

        return Tasks(inputs("a"), self["in/labela"].astype(dtype), inputs("b"), self["in/labelb"].astype(dtype))

    def maml(self, dtype="float64", **settings):
        """A MAML with this golden's network, at its initial weights."""
        flags = self.flags
        miniimagenet = flags["datasource"] == "miniimagenet"
        if self.is_image:
            sizes = (flags["num_classes"], flags["num_filters"])
            model = networks.conv4(
                self.image_shape, *sizes, flags["norm"], flags["max_pool"], flatten=miniimagenet, dtype=dtype
            )
            shots = flags["update_batch_size"]
            problem = {"loss": losses.SoftmaxCrossEntropy(shots), "accuracy": losses.accuracy}
        else:
            model = networks.mlp((self.settings["dim_input"],), 1, (40, 40), flags["norm"], dtype=dtype)
            problem = {"loss": losses.mse}
        self.initialise(model)
        defaults = {
            "step_size": flags["update_lr"],
            "num_updates": flags["num_updates"],
            "first_order": flags["stop_grad"],
            "optimizer": adam(clip=self.clip),
        }
        return MAML(model, **(problem | defaults | settings))

    def initialise(self, model):
        """Assigns the golden's initial weights to a model."""
        for role, variable in by_role(model).items():
            variable.assign(self[f"init/{role}"])


@functools.cache
def _read(name):
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return json.loads((FOLDER / f"{name}.json").read_text()), dict(arrays)


def by_role(model):
    """Returns the trainable variables of one of our networks, by the original's names."""
    is_conv = model.name == "conv4"
    roles = {}
    for layer in model.layers:
        number = layer.name[-1]
        if layer.name == "output":
            number = 5 if is_conv else 1 + sum(isinstance(d, keras.layers.Dense) for d in model.layers[:-1])
        if layer.name.startswith("conv"):
            roles |= {f"conv{number}": layer.kernel, f"b{number}": layer.bias}
        elif isinstance(layer, keras.layers.Dense):
            roles |= {f"w{number}": layer.kernel, f"b{number}": layer.bias}
        elif layer.name.startswith("norm"):
            scope = f"norm{int(number) - 1}"
            roles |= {f"{scope}_{v.name}": v for v in layer.trainable_variables}
    return roles


def relative_error(actual, expected):
    """Relative L2 distance between arrays."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300)


def assert_close(actual, expected, tolerance, what):
    """Asserts that a relative error is below a tolerance; NaN fails."""
    error = relative_error(actual, expected)
    assert error < tolerance, f"{what}: relative error {error:.1e}, allowed {tolerance:.0e}"
