"""The analytic operation count, against numbers computed by hand and against the graph that really runs."""

import collections

import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from scripts import flops

# Omniglot's four strided convolutions of 64 filters map 28 -> 14 -> 7 -> 4 -> 2.
CONV1 = 14 * 14 * 9 * 1 * 64
CONVS = (7 * 7 + 4 * 4 + 2 * 2) * 9 * 64 * 64


class Shapes:
    """All that `problems.build` asks of a task source."""

    input_shape = (28, 28, 1)
    output_size = 5


def test_multiply_adds_of_strided_convolutions():
    model = networks.conv4((28, 28, 1), 5)
    assert flops.layer_multiply_adds(model) == [CONV1, 7 * 7 * 36864, 4 * 4 * 36864, 2 * 2 * 36864, 64 * 5]


def test_multiply_adds_of_pooled_convolutions():
    model = networks.conv4((84, 84, 3), 5, filters=32, max_pool=True, flatten=True)
    expected = [84**2 * 9 * 3 * 32, 42**2 * 9216, 21**2 * 9216, 10**2 * 9216, 5 * 5 * 32 * 5]
    assert flops.layer_multiply_adds(model) == expected


def test_multiply_adds_of_dense_layers():
    assert flops.layer_multiply_adds(networks.mlp((1,), 1, (40, 40))) == [40, 1600, 40]


def test_second_order_step():
    # Per example, the first layer does 4 products in the support pass and 2 in the query pass, the others 9 and 3.
    expected = 2 * 32 * 5 * (6 * CONV1 + 12 * (CONVS + 64 * 5))
    model = networks.conv4((28, 28, 1), 5)
    actual = flops.meta_training_step(model, tasks=32, support=5, query=5, num_updates=1)
    assert actual == expected
    assert actual == pytest.approx(10e9, rel=0.002)


def test_first_order_step():
    expected = 2 * 32 * 5 * (4 * CONV1 + 6 * (CONVS + 64 * 5))
    model = networks.conv4((28, 28, 1), 5)
    assert flops.meta_training_step(model, tasks=32, support=5, query=5, num_updates=1, first_order=True) == expected


def test_updates_and_queries():
    model = networks.mlp((1,), 1, (40, 40))
    expected = 2 * 4 * ((5 * 3 * 4 + 7 * 2) * 40 + (5 * 3 * 9 + 7 * 3) * 1640)
    assert flops.meta_training_step(model, tasks=4, support=3, query=7, num_updates=5) == expected


@pytest.mark.parametrize(
    ("settings", "products", "layers"),
    [
        ({"norm": "None"}, (15, 15, 12), range(4)),
        ({"norm": "None", "stop_grad": True}, (8, 8, 6), range(4)),
        ({"norm": "None", "num_updates": 2}, (26, 26, 21), range(4)),
        ({}, (12, 12, 12), range(1, 4)),
        ({"stop_grad": True}, (6, 6, 6), range(1, 4)),
        ({"num_updates": 2}, (21, 21, 21), range(1, 4)),
        ({"max_pool": True}, (12, 12, 12), range(1, 4)),
    ],
    ids=["plain", "plain_first_order", "plain_two_updates", "second_order", "first_order", "two_updates", "max_pool"],
)
def test_convolutions_in_the_graph(settings, products, layers):
    """With batch normalisation, the first layer multiplies patches, which one convolution in each pass makes.

    Gradients with respect to the kernels of strided convolutions are matrix products, too.
    """
    experiment = Experiment.of(datasource="omniglot", num_filters=2, meta_batch_size=2, **settings)
    maml = build.build(experiment, Shapes, task_axis="map", jit=False)
    nodes = _live_nodes(maml, support=5, query=5)
    patches = experiment.num_updates + 1 if len(layers) < 4 else 0  # each needs another product for its covariance
    dense = sum(_counted(maml, layers=[4] if layers[0] == 0 else [0, 4]))
    by_kernel = nodes["MatMul"] - patches - dense
    assert (by_kernel, nodes["Conv2DBackpropFilter"])[:: 1 if experiment.max_pool else -1] == (0, products[1])
    assert (nodes["Conv2D"] - patches, nodes["Conv2DBackpropInput"]) == products[::2]
    assert _counted(maml, layers) == products


@pytest.mark.parametrize("first_order", [False, True])
def test_dense_products_in_the_graph(first_order):
    model = networks.mlp((1,), 1, (4, 4, 4))
    maml = MAML(model, losses.mse, num_updates=3, first_order=first_order, task_axis="map", jit=False)
    nodes = _live_nodes(maml, support=2, query=2)
    assert nodes["MatMul"] == sum(_counted(maml, layers=range(4)))


def _counted(maml, layers):
    """The products that `flops` counts for one task in these layers."""
    total = flops.Products(0, 0, 0)
    for i in layers:
        total = total.plus(flops.query_products(i == 0))
        total = total.plus(flops.support_products(i == 0, maml.first_order), times=maml.num_updates)
    return total


def _live_nodes(maml, support, query):
    """How many operations of each type the loop over tasks runs for one task."""

    def spec(examples, shape):
        return tf.TensorSpec((2, examples, *shape), tf.float32)

    inputs, outputs = maml.model.input_shape[1:], maml.model.output_shape[1:]
    tasks = Tasks(spec(support, inputs), spec(support, outputs), spec(query, inputs), spec(query, outputs))
    step = maml.compiler(maml.train_step.graph).get_concrete_function(tasks)
    bodies = [f for f in step.graph.as_graph_def().library.function if "while_body" in f.signature.name]
    assert len(bodies) == 1
    return collections.Counter(node.op for node in _needed(bodies[0]))


def _needed(function):
    """The nodes of a FunctionDef on which its results depend; TensorFlow leaves the others out when it runs."""
    nodes = {node.name: node for node in function.node_def}
    ahead = [*function.ret.values(), *function.control_ret.values()]
    seen = set()
    while ahead:
        name = ahead.pop().lstrip("^").split(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            ahead.extend(nodes[name].input)
    return [nodes[name] for name in seen]


@pytest.mark.parametrize("name", ["tasks", "support", "query", "num_updates"])
def test_counts_below_one(name):
    counts = dict.fromkeys(("tasks", "support", "query", "num_updates"), 1)
    with pytest.raises(UserError, match=f"{name} must be at least 1, not 0"):
        flops.meta_training_step(networks.mlp((1,), 1, (4,)), **counts | {name: 0})
