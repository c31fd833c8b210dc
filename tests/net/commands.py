"""The project's commands, each in a process of its own: `python main.py`, `python -m scripts.train_rl`, ..."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.command import Result

ROOT = Path(__file__).parents[2]
# Current name of a script -> its former name.
_RENAMED = {"scripts.evaluate_rl": "scripts.test_rl"}


def run(folder, program, *arguments, project=ROOT):
    """Runs "main" or "scripts.<name>" of a project to its end, in a folder; returns its Result."""
    module = name_in(project, program)
    start = [str(project / "main.py")] if module == "main" else ["-m", module]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | {"PYTHONPATH": str(project)}
    command = [sys.executable, *start, *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Result(result.returncode, result.stdout, result.stderr)


def name_in(project, program):
    """The name that a script has in this project: the current or the former one."""
    if (project / f"{program.replace('.', '/')}.py").exists():
        return program
    return _RENAMED[program]


def fork(folder, program, *arguments):
    """Like `run`, but forks a process that has already loaded the slow libraries, which saves about 5 seconds."""
    with tempfile.TemporaryDirectory() as written:
        streams = [Path(written, name) for name in ("stdout", "stderr")]
        process = start(folder, program, *arguments, streams=streams)
        process.join()
        return Result(process.exitcode, *(stream.read_text(errors="replace") for stream in streams))


def start(folder, program, *arguments, streams, environment=(), cores=None):
    """Starts a command as `fork` does, with stdout and stderr going to files; returns the multiprocessing.Process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.net.loaded"])
    whole = str(folder), name_in(ROOT, program), arguments, streams, dict(environment), cores
    process = context.Process(target=_run, args=whole)
    process.start()
    return process


def _run(folder, module, arguments, streams, environment, cores):
    """Runs the command in the new process."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if cores:
        os.sched_setaffinity(0, cores)
    os.chdir(folder)
    os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    os.environ |= environment
    sys.path.insert(0, str(ROOT))
    sys.argv = [module, *arguments]
    if module == "main":
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
