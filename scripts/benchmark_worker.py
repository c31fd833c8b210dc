"""Measures one workload of `scripts.benchmark` in its own process, since threads and peak memory belong to a process.

python -m scripts.benchmark_worker '{"settings": {"datasource": "omniglot"}, "kind": "steps", "steps": 10}'

With "serve" in the request, it reads further requests from its standard input, line by line, and answers each;
`scripts.benchmark_workers` and `scripts.benchmark --peers` use this.
"""

import dataclasses
import json
import math
import sys
import tempfile
import time

import numpy as np

from data_generators.episodes import ClassImages, Episodes
from maml_tf.backend import tf
from maml_tf.runs import process, workers
from maml_tf.runs.loop import run
from maml_tf.supervised import build, variants
from maml_tf.supervised.datasets import ImageDataset
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.steps import CompiledSteps
from maml_tf.supervised.task_data import TaskData
from maml_tf.supervised.training import Schedule, SupervisedTraining
from scripts import flops

# Training runs this many steps from one summary to the next, and in one call of a compiled loop.
BETWEEN_SUMMARIES = Schedule().summary


def measure(experiment, kind, steps, task_axis="auto", jit="auto", started=None):
    """Times meta-training steps of an experiment on random data.

    Args:
        experiment: Experiment.
        kind: "steps" for single calls of `MAML.train_step` on one meta-batch; "compiled_loop" for the compiled loop of
            `CompiledSteps`, which draws its tasks; or "training_loop" for the whole training, including drawing,
            summaries and progress bar but not checkpoints, in turns with bare steps.
        steps: number of steps to time; the loops round it to hundreds.
        task_axis, jit: see `task_axis.resolve`.
        started: time.time() at the start of the command, from which the time of the first step counts; default, now.

    Returns:
        dict of the measurements, of values that JSON can hold; `scripts.benchmark` says what they mean.
    """
    started = time.time() if started is None else started
    source = random_source(experiment)
    maml = build.build(experiment, source, task_axis, jit)
    call, steps_per_call = _call(kind, maml, experiment, source)
    call()
    first_step = time.time() - started
    calls = max(1, round(steps / steps_per_call))
    _time_calls(call, 2 + calls // 10)  # to warm up
    if kind == "training_loop":
        loop, bare = _time_in_turns(maml, experiment, source, call, blocks=max(1, round(steps / BETWEEN_SUMMARIES)))
        milliseconds, overhead = 1e3 * loop, np.median(2 * loop / (bare[:-1] + bare[1:])) - 1
    else:
        milliseconds, overhead = 1e3 * _time_calls(call, calls) / steps_per_call, None
    lower, median, upper = np.percentile(milliseconds, (25, 50, 75))
    gflop = None if variants.described(experiment) else _flops(experiment, maml.model, source) / 1e9
    return {
        "device": _device(),
        "task_axis": maml.task_axis,
        "jit": bool(maml.jit),
        "ms_per_step": median,
        "ms_iqr": upper - lower,
        "gflop_per_step": gflop,
        "gflop_per_second": None if gflop is None else gflop / median * 1e3,
        "peak_mb": process.peak_memory(),
        "gpu_peak_mb": _gpu_peak_memory(),
        "first_step_seconds": first_step,
        "overhead": overhead,
    }


def serve(experiment, kind):
    """Answers each line of the standard input with milliseconds, as the only process or as one of several workers.

    {"tasks": 32, "steps": 20} asks for 20 meta-steps of 32 tasks in all; {"bytes": 4000, "steps": 20} asks for 20 means
    over the workers by messages of 4000 bytes. A call may do many of them, so their number is rounded up to whole
    calls. The answer is the mean time `ms` of one of them, and the peak memory `peak_mb` of the process.

    Arguments as for `measure`.
    """
    with workers.joined() as together:
        source = random_source(experiment)
        maml = build.build(experiment, source, workers=together)
        numbers = sum(math.prod(v.shape) for v in maml.meta_variables) + len(maml.learner.metric_names("pre", "post"))
        print(json.dumps({"device": _device(), "bytes": 4 * (numbers + 1)}), flush=True)
        calls = {}
        while line := together.from_chief(sys.stdin.readline().encode() or b" " if together.is_chief else b"").strip():
            steps = (asked := json.loads(line)).pop("steps")
            if (key := str(asked)) not in calls:
                one = dataclasses.replace(experiment, meta_batch_size=asked.get("tasks", together.count))
                in_bytes = "bytes" in asked
                calls[key] = _mean(together, asked["bytes"]) if in_bytes else _call(kind, maml, one, source)
                calls[key][0]()
            call, in_call = calls[key]
            seconds = _time_calls(call, math.ceil(steps / in_call)).mean() / in_call
            print(json.dumps({"ms": 1e3 * seconds, "peak_mb": process.peak_memory()}), flush=True)


def random_source(experiment):
    """Returns a task source of the experiment's shapes: sinusoids, or random pixels, which take as long as images."""
    dataset, shots = experiment.dataset, experiment.update_batch_size
    if not isinstance(dataset, ImageDataset):
        return dataset.tasks(experiment).source
    per_class, shape = 20, dataset.shapes(experiment).input_shape
    classes = 1200 if math.prod(shape) < 10_000 else 64  # the numbers of Omniglot and miniImagenet
    pixels = np.random.default_rng(0).integers(0, 256, (classes * per_class, *shape), np.uint8)
    names = tuple(f"class {i}" for i in range(classes))
    images = ClassImages(pixels, per_class * np.arange(classes), np.full(classes, per_class), names)
    return Episodes({"train": images}, experiment.num_classes, shots, dataset.queries or shots, dataset.rotate)


def _flops(experiment, model, source):
    tasks = source.sample(experiment.seed, "train", 0, 1)
    return flops.meta_training_step(
        model,
        tasks=experiment.meta_batch_size,
        support=tasks.support_x.shape[1],
        query=tasks.query_x.shape[1],
        num_updates=experiment.num_updates,
        first_order=experiment.stop_grad,
    )


def _call(kind, maml, experiment, source):
    """Returns a function that does meta-training steps of a kind, and the number of steps per call."""
    return (_compiled_loop if kind == "compiled_loop" else _bare_step)(maml, experiment, source)


def _bare_step(maml, experiment, source):
    """Returns a function that does a meta-training step, always on the same tasks, and the number of steps: 1."""
    tasks = source.sample(experiment.seed, "train", 0, experiment.meta_batch_size)
    first, size = maml.workers.share(experiment.meta_batch_size)
    tasks = tf.nest.map_structure(lambda values: tf.convert_to_tensor(values[first : first + size]), tasks)
    step, own = maml.train_step, {"first": first} if first else {}
    return lambda: step(tasks, **own)["post_loss"].numpy(), 1  # a GPU has finished only once its result is read


def _mean(together, size, times=20):
    """Returns a function that takes `times` successive means over workers by messages of `size` bytes, and `times`."""
    numbers = tf.ones([size // 4 - 1])  # the message also holds the weight of the mean

    def means():
        return tf.while_loop(lambda i, _: i < times, lambda i, v: (i + 1, together.mean(v, 1)), (0, numbers))[1]

    call = tf.function(means, autograph=False)
    return lambda: call().numpy(), times


def _compiled_loop(maml, experiment, source):
    """Returns a function that does as many meta-training steps as training does in one call, and their number."""
    runner, done = CompiledSteps(maml, experiment, source), 0

    def call():
        nonlocal done
        [(done, _)] = runner.run(done, done + BETWEEN_SUMMARIES)

    return call, BETWEEN_SUMMARIES


def _time_calls(call, calls):
    """Makes many calls; returns the seconds of each."""
    seconds = np.empty(calls)
    for i in range(calls):
        start = time.perf_counter()
        call()
        seconds[i] = time.perf_counter() - start
    return seconds


def _time_in_turns(maml, experiment, source, bare_step, blocks):
    """Returns seconds per step of the training loop, [blocks], and of bare steps before and after each, [blocks + 1].

    Both are measured in turns, so a machine that slows down or speeds up affects both. A block lasts from the start of
    one step to the start of the step 100 later, so summaries are written once in it. The start and end of the run, and
    its checkpoints, are outside the blocks.
    """
    loop, bare, step = [], [], maml.train_step
    iteration, resumed = 0, None

    def in_turns(tasks):
        nonlocal iteration, resumed
        if iteration % BETWEEN_SUMMARIES == 0:
            if resumed:
                loop.append((time.perf_counter() - resumed) / BETWEEN_SUMMARIES)
            bare.append(_time_calls(bare_step, BETWEEN_SUMMARIES).mean())
            resumed = time.perf_counter()
        iteration += 1
        return step(tasks)

    experiment = dataclasses.replace(experiment, metatrain_iterations=blocks * BETWEEN_SUMMARIES + 1)
    maml.train_step = in_turns
    with tempfile.TemporaryDirectory() as folder:
        data = TaskData(source, None, None, ("train",))
        training = SupervisedTraining(experiment, maml, data, folder, Schedule(save=0, validate=0))
        run(training, build.store(folder, maml, experiment))
    return np.array(loop), np.array(bare)


def _device():
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    cores = process.available_cores()
    return f"{cores} core{'s' if cores > 1 else ''}"


def _gpu_peak_memory():
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6


def main():
    """Measures what the JSON on the command line asks for; prints the measurements as JSON in the last line."""
    request = json.loads(sys.argv[1])
    experiment = Experiment.of(**request.pop("settings"))
    process.configure(process.TASKS_SIDE_BY_SIDE, request.pop("cores", None))
    if request.pop("serve", False):
        serve(experiment, **request)
    else:
        print(json.dumps(measure(experiment, **request)))


if __name__ == "__main__":
    main()
