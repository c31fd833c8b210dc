"""Measures the memory of meta-steps in a separate process: `python -m tests.maml_tf.memory REQUEST`.

REQUEST is JSON. {"updates": 10, "remat": true, "filters": 64} measures meta-steps with miniImagenet's shapes;
{"learners": 18} measures 18 MAMLs, one after the other. The last line of the output is the answer, also JSON.
"""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def measured(**request):
    """Returns the answer of a separate process, with oneDNN on as in commands on large images."""
    command = [sys.executable, "-m", "tests.maml_tf.memory", json.dumps(request)]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def _main(request):
    from maml_tf.runs import process

    process.configure(process.TASKS_SIDE_BY_SIDE)
    return _of_learners(**request) if "learners" in request else _of_steps(**request)


def _random(tasks, shape, support, query):
    import numpy as np

    from data_generators.tasks import Tasks

    rng = np.random.default_rng(0)
    x = rng.random((tasks, 5 * (support + query), *shape), np.float32)
    y = np.tile(np.eye(5, dtype=np.float32), (tasks, support + query, 1))
    return Tasks(x[:, : 5 * support], y[:, : 5 * support], x[:, 5 * support :], y[:, 5 * support :])


def _of_steps(updates, remat, filters=64, tasks=4, shots=1, queries=15, steps=3, side=84, **settings):
    """Returns the peak memory in MB, and the processor and wall seconds per meta-step, without compilation."""
    from maml_tf import losses, networks
    from maml_tf.maml import MAML, adam
    from maml_tf.runs import process

    model, loss = (
        networks.conv4((side, side, 3), 5, filters, max_pool=True, flatten=True),
        losses.SoftmaxCrossEntropy(shots),
    )
    maml = MAML(model, loss, num_updates=updates, remat=remat, optimizer=adam(clip=10.0), **settings)
    batch = _random(tasks, (side, side, 3), shots, queries)
    maml.train_step(batch)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        maml.train_step(batch)["post_loss"].numpy()
    wall, cpu = (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps
    return {"peak_mb": process.peak_memory(), "cpu_seconds": cpu, "wall_seconds": wall}


def _of_learners(learners, **settings):
    """Returns the resident memory in MiB after each of `learners` MAMLs for Omniglot was made, used and dropped."""
    return {"mib": [_after_one(**settings) for _ in range(learners)]}


def _after_one(**settings):
    from maml_tf import losses, networks
    from maml_tf.maml import MAML

    tasks = _random(2, (28, 28, 1), 1, 1)
    maml = MAML(networks.conv4((28, 28, 1), 5), losses.SoftmaxCrossEntropy(1), step_size=0.4, **settings)
    maml.train_step(tasks)
    maml.evaluate(tasks, 1)
    maml.adapt(tasks.support_x[0], tasks.support_y[0])
    del maml
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(_main(json.loads(sys.argv[1]))))
