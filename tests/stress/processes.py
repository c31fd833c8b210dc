"""Runs the project's commands in separate processes, which start fast and can be killed, limited and timed.

A server that has loaded TensorFlow, but not used it, forks one process per command. This takes 20 ms instead of about
5 s, and no command affects the next one.
"""

import importlib
import multiprocessing
import os
import resource
import sys
import threading
import time
from pathlib import Path

from tests import command

_ROOT = Path(__file__).parents[2]
_PRELOADED = [
    "main",
    "maml_tf.supervised.commands",
    "maml_tf.baselines.comparison",
    "rl.training",
    "maml_tf.runs.style",
]
_LOCK = threading.Lock()  # multiprocessing lets only one thread at a time start or check processes
_MEMORY_BYTES = 12 << 30  # of address space, so that a command that asks for too much cannot harm the machine


class Command:
    """A running command.

    Args:
        folder: folder in which it runs.
        program: module with a `main(arguments)`, for example "scripts.train_rl".
        arguments: the command's arguments.
        file_bytes: maximum length of a file, as if the disk were full then; default: no limit.
    """

    def __init__(self, folder, program, arguments, file_bytes=None):
        context = _context()
        self.begun = time.monotonic()
        streams = [context.Pipe(duplex=False) for _ in range(2)]
        written = [write for _, write in streams]
        arguments = (str(folder), program, [*map(str, arguments)], written, file_bytes)
        with _LOCK:
            self._process = context.Process(target=_run, args=arguments)
            self._process.start()
            for stream in written:
                stream.close()
        self._texts = ["", ""]
        self._readers = [threading.Thread(target=self._read, args=(i, read)) for i, (read, _) in enumerate(streams)]
        for reader in self._readers:
            reader.start()

    def ended(self):
        """Whether it has ended."""
        with _LOCK:
            return not self._process.is_alive()

    def kill(self):
        """Ends it as `kill -9` does."""
        with _LOCK:
            self._process.kill()

    def wait(self, seconds=600.0, condition=lambda: False, every=0.002):
        """Waits until it ends, condition() is true, or `seconds` have passed; returns whether it has ended."""
        end = time.monotonic() + seconds
        while not (ended := self.ended()) and time.monotonic() < end and not condition():
            time.sleep(every)
        return ended

    def result(self, seconds=300.0):
        """Waits for its Result. If it takes longer than `seconds`, it is killed and its exit code is "timeout"."""
        ended = self.wait(seconds)
        if not ended:
            self.kill()
            self.wait()
        for reader in self._readers:
            reader.join()
        return command.Result(self._process.exitcode if ended else "timeout", *self._texts)

    def _read(self, number, stream):
        with os.fdopen(os.dup(stream.fileno()), encoding="utf-8", errors="replace") as file:
            stream.close()
            self._texts[number] = file.read()


def run(folder, program, arguments, seconds=300.0, **options):
    """Runs a command to its end; returns its Result."""
    return Command(folder, program, arguments, **options).result(seconds)


def _context():
    context = multiprocessing.get_context("forkserver")
    with _LOCK:
        context.set_forkserver_preload(_PRELOADED)
        before = dict(os.environ)
        os.environ |= {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}  # for the server, if it does not run yet
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ |= before
    return context


def _run(folder, program, arguments, streams, file_bytes):
    """Runs the command in the new process."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.chdir(folder)
    sys.path.insert(0, str(folder))  # where `python -m` would find a user's modules
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    from tests.stress import data  # needs modules that the server has loaded

    data.use_small()
    if file_bytes is not None:  # Python ignores SIGXFSZ, so writing fails with an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    module = importlib.import_module(program)
    sys.argv = [program, *arguments]
    sys.exit(module.main(["main.py", *arguments] if program == "main" else arguments))
