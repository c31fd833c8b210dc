"""The command in a notebook: its streams cannot be configured, it is not in the main thread, TensorFlow is in use."""

import sys
import threading

import tensorflow as tf

import main
from maml_tf.runs import process
from tests import command


class Stream:
    """The output stream of a notebook's cell: it has neither a file descriptor nor `reconfigure`."""

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
    few = "--metatrain_iterations=2", "--test_tasks=20", "--task_axis=map"
    arguments = ["main.py", *map(str, command.ARGUMENTS), *few]
    thread = threading.Thread(target=lambda: codes.append(main.main(arguments)))
    thread.start()
    thread.join()
    assert codes == [0], stream.text + sys.stderr.text
    assert "test" in stream.text
    assert sys.stdout is stream


def test_threads_stay_where_tensorflow_runs_already(monkeypatch, caplog):
    """TensorFlow already runs in this process. tests/maml_tf/runs/test_runtime.py checks the message on stderr."""
    monkeypatch.setattr(process, "_keep_freed_memory", lambda: None)
    threads, tf32 = tf.config.threading, tf.config.experimental.tensor_float_32_execution_enabled()
    tf.zeros(1)
    before = threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()
    assert before != (3, 1)
    process.configure(process.LARGE_PRODUCTS, cores=3)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    assert "keeps its threads" in caplog.text
    assert (threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()) == before
