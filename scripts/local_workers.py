"""Starts a command as several workers on this machine, which share every meta-batch: one a GPU, or some cores each.

python -m scripts.local_workers --workers=2 main.py --datasource=omniglot --num_classes=5
python -m scripts.local_workers --workers=2 -m scripts.train_rl --env=half_cheetah_direction

The command is main.py, scripts.train_rl or scripts.baselines with its flags. The first worker writes and is heard; of
the others, errors are. When one is killed or lost, all are started again and resume from the latest checkpoint.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from data_generators.errors import UserError
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import available_cores

LOST = 75  # `maml_tf.distribution.LOST`, without TensorFlow
_GRACE_SECONDS = 30  # in which the others notice that one is gone, and end by themselves


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.integer("workers", None, "how many; default: the visible GPUs, or 2", least=1, most=1024)
    flags.integer("restarts", 3, "how often all are started again after one was killed or lost", least=0)
    flags.argument("command", "main.py, or -m and a module, and its flags", several=True, required=False)


def run(flags: Flags) -> int:
    """Starts the workers, again if one is lost; returns the exit code of the first that failed."""
    if not flags.command:
        raise UserError("the command is missing: write main.py, or -m scripts.train_rl, and its flags, at the end")
    gpus = _visible_gpus()
    count = flags.workers or len(gpus) or 2
    if gpus and count > len(gpus):
        raise UserError(f"{count} workers need a GPU each, but {len(gpus)} are visible: give --workers={len(gpus)}")
    if not gpus and count > available_cores():
        raise UserError(f"{count} workers need a core each, but there are {available_cores()}")
    for left in range(flags.restarts, -1, -1):
        code, retry = _Group(count, gpus, flags.command).wait()
        if not retry or not left:
            return code
        print(f"A worker was lost; all are started again, at most {left} times", file=sys.stderr)
    return code


class _Group:
    """The processes of one start."""

    def __init__(self, count, gpus, command):
        self._asked = False
        addresses = [f"localhost:{port}" for port in _free_ports(count)]
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._processes = []
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {"TF_CONFIG": json.dumps(config)}
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = gpus[index]
            own = cores[len(cores) * index // count : len(cores) * (index + 1) // count]
            self._processes.append(_start(command, os.environ | environment, own, index))

    def wait(self):
        """(exit code, whether to start again), once all have ended."""
        handlers = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._wait_for_all()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        codes = [process.returncode for process in self._processes]
        failed = [code for code in codes if code > 0 and code != LOST]
        if failed:
            return failed[0], False
        lost = any(codes)
        return (LOST if lost else 0), lost and not self._asked

    def _wait_for_all(self):
        since = None
        while running := [process for process in self._processes if process.poll() is None]:
            if len(running) < len(self._processes):
                since = since or time.monotonic()
                if any(p.returncode for p in self._processes) and time.monotonic() - since > _GRACE_SECONDS:
                    for process in running:
                        process.kill()
            time.sleep(0.1)

    def _pass_on(self, number, frame):
        # Ctrl-C on a terminal reaches the workers by itself.
        self._asked = True
        for process in self._processes:
            if number != signal.SIGINT and process.poll() is None:
                process.send_signal(number)


def _start(command, environment, cores, index):
    set_cores = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} if index else {}
    process = subprocess.Popen([sys.executable, *command], env=environment, preexec_fn=set_cores, **streams)
    if index:
        threading.Thread(target=_repeat, args=(process.stderr, index), daemon=True).start()
    return process


def _repeat(stream, index):
    for line in stream:
        print(f"worker {index}: {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _visible_gpus():
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(found))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    starts = [i for i, argument in enumerate(arguments) if argument == "-m" or not argument.startswith("-")]
    own = starts[0] if starts else len(arguments)
    return command(__doc__, define, run, [*arguments[:own], "--", *arguments[own:]])


if __name__ == "__main__":
    sys.exit(main())
