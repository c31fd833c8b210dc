"""MAML in JAX: a compiled step over all tasks at once, or task by task on every core; or a loop of a hundred steps.

python -m scripts.peers.jax_peer '{"problem": "problem.npz", "way": "vmap", "processes": 1}'

With "vmap" the tasks are vectorised. With "map" each core is a separate device, which goes through its share of the
tasks by `lax.map`. With "scan" a call does a hundred steps on sinusoids and draws new ones in each, as our loop does.

Convolutions are products of patches: on CPUs, XLA's own convolutions take ten times as long if kernels differ by task.
"""

import functools
import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from maml_tf.runs import process
from scripts.peers import problem as problems
from scripts.peers import serving

IN_LOOP = 100  # steps in a call


def convolution(x, kernel, strides):
    """Convolves as TensorFlow does with padding SAME, by 3 x 3 pixels; x: [batch, height, width, channels]."""
    sizes = [-(-size // strides) for size in x.shape[1:3]]
    pads = [max((new - 1) * strides + 3 - old, 0) for new, old in zip(sizes, x.shape[1:3], strict=True)]
    x = jnp.pad(x, ((0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)))
    height, width = ((size - 1) * strides + 1 for size in sizes)
    shifted = [x[:, i : i + height : strides, j : j + width : strides] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, kernel.shape[3])


def pooled(x):
    """Returns the largest of each 2 x 2 pixels.

    It uses comparisons, since XLA on CPUs gets the second derivative of `x.reshape(...).max(...)` wrong under vmap (JAX
    0.10), and since a step on miniImagenet takes 1.4 times as long with `maximum` and `reduce_window`.
    """
    height, width = (size // 2 * 2 for size in x.shape[1:3])
    rows = larger(x[:, 0:height:2], x[:, 1:height:2])
    return larger(rows[:, :, 0:width:2], rows[:, :, 1:width:2])


def larger(a, b):
    return jnp.where(a >= b, a, b)


def outputs(facts, weights, x):
    for layer in sorted({name.split("/")[0] for name in weights if name.startswith(("conv", "dense"))}):
        kernel = weights[f"{layer}/kernel"]
        x = convolution(x, kernel, facts["strides"]) if kernel.ndim == 4 else x.reshape(len(x), -1) @ kernel
        if f"{layer}/bias" in weights:
            x += weights[f"{layer}/bias"]
        if facts["norm"]:
            axes = tuple(range(x.ndim - 1))
            x = (x - x.mean(axes)) * lax.rsqrt(x.var(axes) + facts["epsilon"]) + weights[f"norm{layer[-1]}/beta"]
        x = jax.nn.relu(x)
        if facts["max_pool"]:
            x = pooled(x)
    x = x.reshape(len(x), -1) if facts["flatten"] or x.ndim == 2 else x.mean((1, 2))
    return x @ weights["output/kernel"] + weights["output/bias"]


def loss(facts, weights, x, y):
    found = outputs(facts, weights, x)
    if not facts["classes"]:
        return jnp.mean((found - y) ** 2)
    return -jnp.take_along_axis(jax.nn.log_softmax(found), y[:, None], 1).sum() / facts["shots"]


def task_loss(facts, weights, support_x, support_y, query_x, query_y):
    """Makes the inner updates (equation 1), and returns the loss on the queries."""
    shared = {name: weight for name, weight in weights.items() if name.endswith("beta")}
    fast = {name: weight for name, weight in weights.items() if name not in shared}
    for _ in range(facts["num_updates"]):
        gradients = jax.grad(lambda fast: loss(facts, fast | shared, support_x, support_y))(fast)
        gradients = lax.stop_gradient(gradients) if facts["first_order"] else gradients
        fast = jax.tree.map(lambda weight, gradient: weight - facts["step_size"] * gradient, fast, gradients)
    return loss(facts, fast | shared, query_x, query_y)


def cores():
    """Returns a mesh of all devices along one axis."""
    return jax.make_mesh((jax.device_count(),), ("cores",), axis_types=(AxisType.Auto,))


def meta_gradient(facts, way, weights, tasks):
    """Returns the mean meta-gradient over the tasks, all of them at once or one after the other on each device."""
    if way == "map":

        def of_share(weights, tasks):
            gradients = lax.map(lambda task: jax.grad(functools.partial(task_loss, facts))(weights, *task), tasks)
            return jax.tree.map(lambda g: lax.pmean(g.mean(0), "cores"), gradients)

        specs = {"in_specs": (P(), P("cores")), "out_specs": P(), "check_vma": False}  # which keeps gradients local
        return jax.shard_map(of_share, mesh=cores(), **specs)(weights, tasks)
    losses = jax.vmap(functools.partial(task_loss, facts), (None, 0, 0, 0, 0))
    return jax.grad(lambda weights: losses(weights, *tasks).mean())(weights)


def step(facts, way, state, tasks):
    """Makes a step of Adam; state: the number of steps done, the weights, and Adam's two moments of the gradient."""
    done, weights, m, v = state
    gradient = meta_gradient(facts, way, weights, tasks)
    if facts["clip"]:
        gradient = jax.tree.map(lambda g: g.clip(-facts["clip"], facts["clip"]), gradient)
    done += 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
    rate = facts["learning_rate"] * jnp.sqrt(1 - 0.999**done) / (1 - 0.9**done)
    return done, jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, m, v), m, v


def sinusoids(seed, like):
    """Draws tasks of section 5.1, as many and as large as those in `like`."""
    count, support = like[0].shape[:2]
    keys = jax.random.split(jax.random.key(seed), 3)
    amplitude = jax.random.uniform(keys[0], (count, 1, 1), minval=0.1, maxval=5.0)
    phase = jax.random.uniform(keys[1], (count, 1, 1), maxval=np.pi)
    x = jax.random.uniform(keys[2], (count, support + like[2].shape[1], 1), minval=-5.0, maxval=5.0)
    y = amplitude * jnp.sin(x - phase)
    return x[:, :support], y[:, :support], x[:, support:], y[:, support:]


def loop(facts, state, tasks):
    """Makes IN_LOOP steps, each on newly drawn tasks."""

    def body(state, _):
        return step(facts, "vmap", state, sinusoids(state[0].astype(int), tasks)), None

    return lax.scan(body, state, None, IN_LOOP)[0]


def on_device(problem):
    """Puts the weights on every device, and an equal share of the tasks on each; returns (weights, tasks)."""
    whole, shares = (NamedSharding(cores(), spec) for spec in (P(), P("cores")))
    return jax.device_put(problem.weights, whole), tuple(jax.device_put(list(problem.tasks), shares))


def main():
    """Does what the JSON on the command line asks for."""
    request = json.loads(sys.argv[1])
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={request['processes']}"  # for JAX's first use
    problem, way = problems.read(request["problem"]), request["way"]
    with jax.enable_x64(True):
        found = jax.jit(functools.partial(meta_gradient, problem.facts, way))(*on_device(problem.to_check()))
        found = {name: np.asarray(gradient) for name, gradient in found.items()}
    difference = problems.difference(found, problem.gradient)
    first = {"version": f"JAX {jax.__version__}", "setting": "", "difference": difference}
    weights, tasks = on_device(problem)
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = jnp.zeros(()), weights, zeros, jax.tree.map(jnp.zeros_like, weights)
    in_call = IN_LOOP if way == "scan" else 1
    one = functools.partial(loop, problem.facts) if way == "scan" else functools.partial(step, problem.facts, way)
    one = jax.jit(one, donate_argnums=0)

    def block(calls):
        nonlocal state
        for _ in range(calls):
            state = jax.block_until_ready(one(state, tasks))

    block(2)
    serving.serve(block, first, process.peak_memory(), in_call)


if __name__ == "__main__":
    main()
