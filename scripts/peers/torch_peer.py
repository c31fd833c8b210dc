"""MAML in PyTorch: by `torch.func.vmap` over the tasks or task after task, in one process or in one process per core.

python -m scripts.peers.torch_peer '{"problem": "problem.npz", "way": "vmap", "processes": 1}'

It chooses the number of threads and the memory format of convolutions that make a step fastest on this machine.
"""

import itertools
import json
import multiprocessing
import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.func import grad, vmap

from maml_tf.runs import process
from scripts.peers import problem as problems
from scripts.peers import serving


class Learner:
    """MAML on this process's share of the tasks of a problem, by "vmap" or by "loop".

    If a map has an even number of rows, TensorFlow pads it for a strided convolution at the end only, and PyTorch at
    both ends. With strides, images and kernels are therefore flipped, which gives the same function without a copy for
    the padding.

    Args:
        channels_last: whether convolutions have the memory format channels_last.
    """

    def __init__(self, problem, way, rank, processes, channels_last=False):
        self.facts, self.way, self.processes, self.count = problem.facts, way, processes, len(problem.tasks[0])
        self.form = torch.channels_last if channels_last else torch.contiguous_format
        self.flips = [-2, -1] if self.facts["strides"] == 2 else []
        self.channels = next((w.shape[3] for w in reversed(problem.weights.values()) if w.ndim == 4), None)
        self.weights = {name: self.of_ours(torch.tensor(w)).requires_grad_() for name, w in problem.weights.items()}
        support_x, support_y, query_x, query_y = (torch.tensor(v)[rank::processes] for v in problem.tasks)
        self.tasks = self.inputs(support_x), support_y, self.inputs(query_x), query_y
        self.adam = torch.optim.Adam(self.weights.values(), self.facts["learning_rate"], eps=1e-8, fused=True)

    def inputs(self, x):
        if self.channels is None:
            return x.flatten(2)
        images = x.flatten(0, 1).permute(0, 3, 1, 2).flip(self.flips).contiguous(memory_format=self.form)
        return images.unflatten(0, x.shape[:2])

    def of_ours(self, values):
        """Converts a weight of ours to PyTorch's form, [out, in, ...]."""
        if values.ndim == 4:
            return values.permute(3, 2, 0, 1).flip(self.flips).contiguous(memory_format=self.form)
        if self.follows_maps(values):
            values = values.unflatten(0, (-1, self.channels)).transpose(0, 1).flatten(0, 1)
        return values.T.contiguous() if values.ndim == 2 else values

    def as_ours(self, values):
        """Converts a weight or gradient of PyTorch's form to ours."""
        if values.ndim == 4:
            return values.flip(self.flips).permute(2, 3, 1, 0)
        values = values.T if values.ndim == 2 else values
        if self.follows_maps(values):
            values = values.unflatten(0, (self.channels, -1)).transpose(0, 1).flatten(0, 1)
        return values

    def follows_maps(self, values):
        return values.ndim == 2 and self.channels is not None and self.facts["flatten"]

    def outputs(self, weights, x):
        facts = self.facts
        for layer in sorted({name.split("/")[0] for name in weights if name.startswith(("conv", "dense"))}):
            kernel, bias = weights[f"{layer}/kernel"], weights.get(f"{layer}/bias")
            x = F.conv2d(x, kernel, bias, facts["strides"], 1) if kernel.ndim == 4 else F.linear(x, kernel, bias)
            if facts["norm"]:
                beta = weights[f"norm{layer[-1]}/beta"]
                x = F.batch_norm(x, None, None, None, beta, training=True, eps=facts["epsilon"])
            x = F.relu(x)
            if facts["max_pool"]:
                x = F.max_pool2d(x, 2)
        if x.ndim == 4:
            x = x.flatten(1) if facts["flatten"] else x.mean((2, 3))
        return F.linear(x, weights["output/kernel"], weights["output/bias"])

    def loss(self, weights, x, y):
        outputs = self.outputs(weights, x)
        if not self.facts["classes"]:
            return F.mse_loss(outputs, y)
        return F.cross_entropy(outputs, y, reduction="sum") / self.facts["shots"]

    def task_loss(self, support_x, support_y, query_x, query_y):
        """Makes the inner updates (equation 1), and returns the loss on the queries."""
        shared = {name: weight for name, weight in self.weights.items() if name.endswith("beta")}
        fast = {name: weight for name, weight in self.weights.items() if name not in shared}
        for _ in range(self.facts["num_updates"]):
            gradients = self.inner_gradients(lambda fast: self.loss(fast | shared, support_x, support_y), fast)
            fast = {name: weight - self.facts["step_size"] * gradients[name] for name, weight in fast.items()}
        return self.loss(fast | shared, query_x, query_y)

    def inner_gradients(self, loss, fast):
        first_order = self.facts["first_order"]
        if self.way == "vmap":
            gradients = grad(loss)(fast)
            return {name: g.detach() for name, g in gradients.items()} if first_order else gradients
        found = torch.autograd.grad(loss(fast), list(fast.values()), create_graph=not first_order)
        return dict(zip(fast, found, strict=True))

    def meta_gradient(self):
        """Computes the mean meta-gradient over all tasks, and leaves it in the weights' `grad`."""
        self.adam.zero_grad()
        if self.way == "vmap":
            (vmap(self.task_loss)(*self.tasks).sum() / self.count).backward()
        else:
            for task in zip(*self.tasks, strict=True):
                (self.task_loss(*task) / self.count).backward()
        if self.processes > 1:
            gradients = [weight.grad for weight in self.weights.values()]
            whole = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(whole)
            for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def step(self):
        self.meta_gradient()
        if self.facts["clip"]:
            torch.nn.utils.clip_grad_value_(self.weights.values(), self.facts["clip"])
        self.adam.step()


def run(request, rank, store):
    """Serves requests in the first process; in another process, does the steps that the first one announces."""
    problem, share = problems.read(request["problem"]), (request["way"], rank, request["processes"])
    together = request["processes"] > 1
    torch.set_num_threads(1)
    if together:
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=request["processes"])
    exact = Learner(problem.to_check(), *share)
    exact.meta_gradient()
    gradient = {name: exact.as_ours(weight.grad).numpy() for name, weight in exact.weights.items()}
    learner, setting = fastest(problem, share)
    peak = torch.tensor(process.peak_memory() or 0.0)
    if together:
        dist.all_reduce(peak)

    def block(steps):
        steps = torch.tensor(steps)
        if together:
            dist.broadcast(steps, 0)
        for _ in range(steps):
            learner.step()
        return int(steps)

    if rank == 0:
        first = {"version": f"PyTorch {torch.__version__}", "setting": setting}
        first["difference"] = problems.difference(gradient, problem.gradient)
        serving.serve(block, first, float(peak))
    while block(0):
        pass


def fastest(problem, share):
    """Returns the learner with the threads and the memory format that make a step fastest, and these in words."""
    way, _, processes = share
    formats = [False, True] if way == "loop" and any(w.ndim == 4 for w in problem.weights.values()) else [False]
    counts = [1] if processes > 1 else sorted({1, process.available_cores()})
    found = []
    for threads, channels_last in itertools.product(counts, formats):
        torch.set_num_threads(threads)
        learner = Learner(problem, *share, channels_last)
        taken = torch.tensor(serving.seconds(learner.step))
        if processes > 1:
            dist.broadcast(taken, 0)  # so that all choose the same
        words = f"{threads} thread{'s' * (threads > 1)}{', channels last' * channels_last}"
        found.append((float(taken), threads, learner, words))
    _, threads, learner, words = min(found, key=lambda one: one[0])
    torch.set_num_threads(threads)
    learner.step()
    return learner, words


def main():
    """Does what the JSON on the command line asks for."""
    request = json.loads(sys.argv[1])
    store = f"file://{os.path.abspath(request['problem'])}.{os.getpid()}"
    new = multiprocessing.get_context("spawn").Process
    others = [new(target=run, args=(request, rank, store), daemon=True) for rank in range(1, request["processes"])]
    for other in others:
        other.start()
    run(request, 0, store)
    for other in others:
        other.join()


if __name__ == "__main__":
    main()
