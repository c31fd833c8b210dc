"""Measures this machine's rate of float32 matrix products, in GFLOP/s; counts the operations of a meta-training step.

python -m scripts.flops

The rate is that of NumPy's product of 2048 x 2048 matrices (BLAS calls it sgemm). The benchmarks compare with it.

The operations of a step are those that it cannot avoid, counted from the network's shapes: the convolutions and dense
products, at two operations (a multiplication and an addition) per pair of factors, padding included. Normalisation,
activations, pooling, losses and the optimiser are not counted: they are few operations, though they take time.

A layer y = Conv(x, k) and its gradients are three products of equal cost: Conv(x, k), the filter gradient BF(x, dy) and
the input gradient BI(k, dy); a dense layer has the same three. Reverse-mode differentiation of a task's loss needs

  query pass:                Conv(x, k); BF(x, dy), BI(k, dy)
  each update, support pass: Conv(x, k); BF(x, dy), BI(k, dy)
  and for second order, where V and U are the gradients with respect to the filter gradient and the input gradient:
                             Conv(x, V), Conv(U, k); BF(U, dy), BF(x, dy'); BI(V, dy), BI(k, dy')

The first layer's x is data and needs no gradient, so this layer has no BI and no product with U.
"""

import math
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np

from data_generators.errors import UserError
from maml_tf.runs.flags import Flags, command


def define(flags: Flags) -> None:
    """Defines no flags."""


def run(flags: Flags) -> None:
    """Prints the rate."""
    print(sgemm())


def sgemm(size: int = 2048, repeats: int = 20) -> float:
    """The median rate, in GFLOP/s, of NumPy's product of two square float32 matrices."""
    a, b = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    product = np.empty_like(a)
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        np.matmul(a, b, out=product)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[2:]) / 1e9  # the first two warm up the threads


class Products(NamedTuple):
    """How often each of the three products occurs; all three cost the same."""

    forward: int
    filter_gradient: int
    input_gradient: int

    def plus(self, other: "Products", times: int = 1) -> "Products":
        """Returns the sum of these and `times` times the others."""
        return Products(*(mine + times * its for mine, its in zip(self, other, strict=True)))


def query_products(is_first: bool) -> Products:
    """One layer's products in a query pass and its gradient."""
    return Products(1, 1, 0 if is_first else 1)


def support_products(is_first: bool, first_order: bool) -> Products:
    """One layer's products in an inner update and in the meta-gradient through it."""
    second_order = Products(1, 1, 0) if is_first else Products(2, 2, 2)
    return query_products(is_first).plus(second_order, times=0 if first_order else 1)


class Layer(NamedTuple):
    """One example's pass through a convolution or dense layer.

    multiply_adds: number of multiply-adds in its product.
    outputs: number of values that it outputs.
    """

    multiply_adds: int
    outputs: int


def layers_of(model) -> list[Layer]:
    """Returns the convolutions and dense layers, in the order from input to output.

    Args:
        model: functional keras.Model; of these layers, only the first may read the input.
    """
    from maml_tf import layers
    from maml_tf.backend import keras  # not at the top, since the rate needs no Keras

    found = []
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            positions = math.prod(-(-size // layer.strides) for size in layer.input.shape[1:3])
            found.append(Layer(positions * math.prod(layer.kernel.shape), positions * layer.kernel.shape[-1]))
        elif isinstance(layer, keras.layers.Dense):
            found.append(Layer(math.prod(layer.kernel.shape), layer.kernel.shape[-1]))
    return found


def layer_multiply_adds(model) -> list[int]:
    """Multiply-adds of one example's pass through each of `layers_of`."""
    return [layer.multiply_adds for layer in layers_of(model)]


def meta_training_step(
    model, *, tasks: int, support: int, query: int, num_updates: int, first_order: bool = False
) -> int:
    """Floating-point operations of one meta-training step.

    Args:
        model: as in `layers_of`; all its convolutions and dense layers adapt.
        tasks: number of tasks in a meta-batch.
        support, query: number of examples of each task, over all its classes.
        num_updates: number of inner updates.
        first_order: whether the second derivatives are left out.

    Raises:
        UserError: a count is below 1.
    """
    counts = layer_multiply_adds(model)
    how_often = products(
        len(counts), tasks=tasks, support=support, query=query, num_updates=num_updates, first_order=first_order
    )
    return 2 * sum(number * count for number, count in zip(how_often, counts, strict=True))


def products(
    layers: int, *, tasks: int, support: int, query: int, num_updates: int, first_order: bool = False
) -> list[int]:
    """Returns how many products of one example a meta-training step needs in each layer, from the first layer on.

    layers: number of layers. Other arguments and errors are those of `meta_training_step`.
    """
    counts = {"tasks": tasks, "support": support, "query": query, "num_updates": num_updates}
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} must be at least 1, not {count}")
    return [
        tasks
        * (num_updates * support * sum(support_products(i == 0, first_order)) + query * sum(query_products(i == 0)))
        for i in range(layers)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
