"""The command from a notebook: no stream that can be configured, no main thread, TensorFlow in use already."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import main
from tests import command

ROOT = Path(__file__).parents[1]


class Stream:
    """An output of a notebook's cell: it has neither a number nor `reconfigure`."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass


def test_main_runs_in_a_thread_of_a_notebook(run_main, monkeypatch):
    stream, codes = Stream(), []
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", Stream())
    arguments = ["main.py", *map(str, command.ARGUMENTS), "--metatrain_iterations=2"]
    thread = threading.Thread(target=lambda: codes.append(main.main(arguments)))
    thread.start()
    thread.join()
    assert codes == [0], stream.text + sys.stderr.text
    assert "test" in stream.text
    assert sys.stdout is stream


def test_threads_stay_where_tensorflow_runs_already():
    code = "import tensorflow as tf; tf.zeros(1)\nfrom maml_tf.runs import process\n"
    code += "process.configure(process.LARGE_PRODUCTS, cores=3)"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "keeps its threads" in done.stderr
