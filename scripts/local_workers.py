"""Starts a command as several workers on this machine, which share every meta-batch: each has a GPU, or some cores.

python -m scripts.local_workers --workers=2 main.py --datasource=omniglot --num_classes=5
python -m scripts.local_workers --workers=2 -m scripts.train_rl --env=half_cheetah_direction

The command is main.py, scripts.train_rl or scripts.baselines with its flags. The first worker writes files and prints;
the others print only errors. If a worker is killed or lost, all are started again and resume from the latest
checkpoint. Ctrl-C stops all: they save and end. A second Ctrl-C ends them at once, and a third kills them.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

from data_generators.errors import UserError
from maml_tf.distribution import LOST
from maml_tf.runs.boundary import Requests
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import available_cores

_GRACE_SECONDS = 30  # for the other workers to notice that one is gone, and to end by themselves
_PATIENT = 2  # number of requests to stop that are passed on; the next one kills the workers
# Runs before the command: if this process is killed, Linux sends the worker the signal of Ctrl-C (1: PR_SET_PDEATHSIG),
# perhaps once for every thread of this process.
_HEEDING = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGINT)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.integer("workers", None, "number of workers; default: the visible GPUs, or 2", least=1, most=1024)
    flags.integer("restarts", 3, "how often all are started again after one was killed or lost", least=0)
    flags.argument("command", "main.py, or -m and a module, and its flags", several=True, required=False)


def run(flags: Flags) -> int:
    """Starts the workers, and all of them again if one is lost; returns the exit code of the first that failed."""
    if not flags.command:
        raise UserError("the command is missing: write main.py, or -m scripts.train_rl, and its flags, at the end")
    gpus = _visible_gpus()
    count = flags.workers or len(gpus) or 2
    if gpus and count > len(gpus):
        raise UserError(f"{count} workers need a GPU each, but {len(gpus)} are visible: give --workers={len(gpus)}")
    if not gpus and count > available_cores():
        cores = available_cores()
        raise UserError(f"{count} workers need a core each, but there are {cores}: give --workers={cores}")
    anew = [part for part in flags.command if re.fullmatch("--?(noresume|resume=(false|f|no|n|0))", part.lower())]
    for left in range(flags.restarts, -1, -1):
        code, retry = _Group(count, gpus, flags.command).run()
        if not retry or not left:
            return code
        if anew:
            print(f"A worker was lost; start again without {anew[0]} to resume", file=sys.stderr)
            return code
        print(f"A worker was lost; all are started again, at most {left} times", file=sys.stderr)
    return code


class _Group:
    """The worker processes of one start."""

    def __init__(self, count, gpus, command):
        self._count, self._gpus, self._command = count, gpus, command
        self._requests, self._passed_on = Requests(), 0
        self._processes, self._readers = [], []

    def run(self):
        """Runs the workers until all have ended; returns (exit code, whether to start again)."""
        heeded = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
            heeded.append(signal.SIGHUP)
        handlers = {number: signal.signal(number, self._note) for number in heeded}
        try:
            # The workers put their temporary files here, since a worker that is killed leaves its files behind.
            with tempfile.TemporaryDirectory(prefix="workers", ignore_cleanup_errors=True) as folder:
                try:
                    self._start(folder)
                    self._wait_for_all()
                finally:
                    self._end()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        codes = [process.returncode for process in self._processes]
        failed = [code for code in codes if code > 0 and code != LOST]
        if failed:
            return failed[0], False
        if self._requests.count and (any(codes) or len(codes) < self._count):
            return 130, False
        return (LOST, True) if any(codes) else (0, False)

    def _start(self, folder):
        addresses = [f"localhost:{port}" for port in free_ports(self._count)]
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        heeding = ["-I", "-c", _HEEDING, str(os.getpid())] if sys.platform == "linux" else []
        for index in range(self._count):
            if self._requests.count:
                return
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {"TF_CONFIG": json.dumps(config), "TMPDIR": folder}
            if self._gpus:
                environment["CUDA_VISIBLE_DEVICES"] = self._gpus[index]
            own = cores[len(cores) * index // self._count : len(cores) * (index + 1) // self._count]
            # The first worker reads the standard input of this process, but not from a terminal, which would stop it:
            # a process group in the background may not read from a terminal.
            piped = not index and sys.stdin is not None and not sys.stdin.isatty()
            streams = {} if piped else {"stdin": subprocess.DEVNULL}
            streams |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} if index else {}
            with _on(own, cores):
                # In a process group of its own, so that Ctrl-C on a terminal reaches it through this process alone.
                process = subprocess.Popen(
                    [sys.executable, *heeding, *self._command], env=os.environ | environment, process_group=0, **streams
                )
            self._processes.append(process)
            if index:
                self._readers.append(threading.Thread(target=_repeat, args=(process.stderr, index), daemon=True))
                self._readers[-1].start()

    def _wait_for_all(self):
        since = None
        while running := self._running():
            self._pass_on(running)
            if len(running) < len(self._processes):
                since = since or time.monotonic()
                if any(p.returncode for p in self._processes) and time.monotonic() - since > _GRACE_SECONDS:
                    self._end()
            time.sleep(0.1)

    def _running(self):
        return [process for process in self._processes if process.poll() is None]

    def _end(self):
        """Kills the workers that still run, and waits until the errors of all have been printed."""
        for process in self._running():
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join(1)  # a second at most, since a child of the worker may keep the pipe open

    def _note(self, number, frame):
        self._requests.note()  # nothing else, since a signal may come while a worker is being started

    def _pass_on(self, running):
        """Passes a request to stop on to the workers."""
        if self._passed_on < self._requests.count:
            self._passed_on += 1
            # SIGINT, whichever signal came: while workers wait for each other, TensorFlow ignores SIGTERM.
            for process in running:
                process.send_signal(signal.SIGINT if self._passed_on <= _PATIENT else signal.SIGKILL)


@contextlib.contextmanager
def _on(cores, all_cores):
    """Makes processes that are started in this context run on these cores."""
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, all_cores)


def _repeat(stream, index):
    with stream:
        for line in stream:
            print(f"worker {index}: {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)


def free_ports(count: int) -> list[int]:
    """Returns `count` different ports of this machine that are free."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _visible_gpus():
    """Returns the GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES."""
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
    values = [i + 1 for i, argument in enumerate(arguments) if argument in ("--workers", "--restarts")]
    names = [i for i, argument in enumerate(arguments) if argument == "-m" or not argument.startswith("-")]
    starts = [i for i in names if i not in values]
    own = starts[0] if starts else len(arguments)
    return command(__doc__, define, run, [*arguments[:own], "--", *arguments[own:]])


if __name__ == "__main__":
    sys.exit(main())
