"""The problem that all frameworks compute, in one file: a network, initial weights, a meta-batch, our meta-gradient.

python -m scripts.peers.problem problem.npz '{"datasource": "omniglot"}' 2

The meta-gradient is that of the first tasks, here of two, in float64. In float32, two frameworks differ by 0.1 to 3 %
if rounding puts an activation of a task on the other side of ReLU's kink, though both are right.

The peers need only NumPy to read the file. It leaves out biases that batch normalisation subtracts again, as networks
written for these frameworks do.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A meta-step to compute.

    facts: strides, max_pool, flatten and norm of the network, epsilon of the norm; classes (0: regression) and shots,
        by which the summed cross-entropy is divided; step_size, num_updates and first_order of the inner loop;
        learning_rate of Adam, and the clip of every component of the meta-gradient, or None.
    tasks: support_x, support_y, query_x and query_y, [tasks, examples, ...]; images are [height, width, channels], and
        labels of classes are ids.
    weights: arrays by name, in the order of the layers. Kernels are [height, width, in, out] and [in, out]; names that
        end in beta are offsets of the norm, which the inner loop does not change.
    gradient: our meta-gradient, by the same names, float64.
    checked: number of tasks, the first ones, over which the gradient is the mean.
    """

    facts: dict[str, Any]
    tasks: list[np.ndarray]
    weights: dict[str, np.ndarray]
    gradient: dict[str, np.ndarray]
    checked: int

    def to_check(self) -> "Problem":
        """Returns the problem in float64, with only the tasks that are checked."""
        tasks = [_double(values[: self.checked]) for values in self.tasks]
        return self._replace(tasks=tasks, weights={name: _double(weight) for name, weight in self.weights.items()})


def _double(values):
    return values.astype(np.float64) if values.dtype == np.float32 else values


def read(path: str | Path) -> Problem:
    """Reads the problem in a file."""
    with np.load(path) as arrays:
        facts = json.loads(str(arrays["facts"]))
        weights, gradient = ({name: arrays[f"{of} {name}"] for name in facts["names"]} for of in ("weight", "gradient"))
        return Problem(facts, [arrays[f"task {i}"] for i in range(4)], weights, gradient, int(arrays["checked"]))


def difference(gradient: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> float:
    """Returns the largest relative difference of two gradients over the variables: max |theirs - ours| / |ours|."""
    return max(float(np.linalg.norm(gradient[name] - ours[name]) / np.linalg.norm(ours[name])) for name in ours)


def write(path: str | Path, settings: dict[str, Any], checked: int) -> None:
    """Writes the problem of an experiment on random data, with the meta-gradient that this project computes.

    Args:
        path: path of the file, .npz.
        settings: settings of the Experiment.
        checked: number of tasks over which meta-gradients are compared.

    Raises:
        ValueError: the peers have no such network or variant.
    """
    from maml_tf.supervised import build, variants
    from maml_tf.supervised.datasets import ImageDataset
    from maml_tf.supervised.experiment import Experiment
    from scripts.benchmark_worker import random_source

    experiment = Experiment.of(**settings)
    if experiment.norm not in ("batch_norm", "None") or variants.described(experiment):
        raise ValueError(f"no peer has {settings}")
    source = random_source(experiment)
    maml = build.build(experiment, source)
    tasks = source.sample(experiment.seed, "train", 0, experiment.meta_batch_size)
    weights, gradient = {v.path: v.numpy() for v in maml.model.trainable_variables}, _gradient(maml, tasks, checked)
    normed = experiment.norm != "None"
    cancelled = {name for name in weights if normed and name.endswith("/bias") and name != "output/bias"}
    assert all(np.allclose(gradient[name], 0, atol=1e-9) for name in cancelled)
    names = [name for name in weights if name not in cancelled]
    support_x, support_y, query_x, query_y = (np.asarray(values, np.float32) for values in tasks)
    classes = support_y.shape[-1] if isinstance(experiment.dataset, ImageDataset) else 0
    if classes:
        support_y, query_y = support_y.argmax(-1), query_y.argmax(-1)
    facts = {
        "names": names,
        "strides": 1 if experiment.max_pool else 2,
        "max_pool": experiment.max_pool,
        "flatten": not experiment.conv or getattr(experiment.dataset, "flatten", False),
        "norm": normed,
        "epsilon": 1e-3,
        "classes": classes,
        "shots": experiment.update_batch_size,
        "step_size": experiment.update_lr,
        "num_updates": experiment.num_updates,
        "first_order": experiment.stop_grad,
        "learning_rate": experiment.meta_lr,
        "clip": maml.optimizer.clipvalue,
    }
    arrays = {f"task {i}": array for i, array in enumerate((support_x, support_y, query_x, query_y))}
    for name in names:
        arrays |= {f"weight {name}": weights[name], f"gradient {name}": gradient[name]}
    np.savez(path, facts=np.array(json.dumps(facts)), checked=np.array(checked), **arrays)


def _gradient(maml, tasks, count):
    """Computes the meta-gradient of the first tasks in float64, by the names of the variables."""
    from maml_tf.backend import tf
    from maml_tf.maml import MAML

    config = json.dumps(maml.model.get_config()).replace("float32", "float64")
    model = type(maml.model).from_config(json.loads(config))
    model.set_weights(maml.model.get_weights())
    double = MAML(model, **(maml.given | {"optimizer": None, "pretrain_optimizer": None}))
    tasks = tf.nest.map_structure(lambda values: tf.cast(values[:count], tf.float64), tasks)
    return {v.path: g.numpy() for v, g in zip(double.weights, double.meta_gradients(tasks), strict=True)}


if __name__ == "__main__":
    write(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
