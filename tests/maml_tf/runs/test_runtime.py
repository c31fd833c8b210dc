"""Tests of the settings of the process. Threads are global to a process, so a separate process checks them."""

import ctypes
import os
import platform
import sys
from types import SimpleNamespace

from maml_tf import fast_conv
from maml_tf.runs import process
from tests.workers.started import alone, written

THREADS = (
    "tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads()"
)
PROGRAM = f"""
import importlib, pkgutil, sys
import tensorflow as tf
from tensorflow.python.framework import config
import data_generators, maml_tf
for package in (maml_tf, data_generators):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
assert ({THREADS}) == (0, 0), "importing sets threads"
from maml_tf.runs import process
process.configure(process.TASKS_SIDE_BY_SIDE, cores=3)
assert ({THREADS}) == (1, 3)
assert not tf.config.experimental.tensor_float_32_execution_enabled()
assert not config.is_op_determinism_enabled()
from maml_tf import task_axis
assert task_axis._parallel_iterations() == 3
process.configure(process.LARGE_PRODUCTS, tf32=True, deterministic=True)
assert ({THREADS}) == (process.available_cores(), 1)
assert tf.config.experimental.tensor_float_32_execution_enabled()
assert config.is_op_determinism_enabled()
print("set")
tf.zeros([1]) + 1
print("now it is too late", file=sys.stderr)
process.configure(process.TASKS_SIDE_BY_SIDE, cores=3)
assert ({THREADS}) == (process.available_cores(), 1)
print("kept")
print(maml_tf.fast_conv._is_onednn_on())
"""


def test_threads_and_arithmetic_until_tensorflow_works():
    """Tests also whether oneDNN is on, with the opposite of the setting with which TensorFlow was loaded here."""
    here, has_onednn = fast_conv._is_onednn_on(), (sys.platform, platform.machine()) == ("linux", "x86_64")
    run = alone("-c", PROGRAM, TF_ENABLE_ONEDNN_OPTS="0" if here else "1")
    assert run.stdout.split() == ["set", "kept", str(has_onednn and not here)], run.stderr
    assert has_onednn or not here
    assert ["keeps its threads" in text for text in run.stderr.split("now it is too late")] == [False, True]


SUMS = """
import tensorflow as tf
from tensorflow.python.eager.context import context
from maml_tf.runs import process

@tf.function(autograph=False)
def total(x):
    return tf.reduce_sum(tf.add_n([tf.sin(x + i) for i in range(4)]))

def operations():
    context().enable_run_metadata()
    total(tf.ones([2**24]))
    graphs = context().export_run_metadata().function_graphs
    context().disable_run_metadata()
    return {node.op for graph in graphs for node in graph.post_optimization_graph.node}

tf.config.threading.set_intra_op_parallelism_threads(2)
assert {"AssignAdd", "TemporaryVariable"} <= operations(), "TensorFlow no longer rewrites sums of large tensors"
process.configure(process.TASKS_SIDE_BY_SIDE)
assert "AddN" in (found := operations()) and "AssignAdd" not in found
assert tf.config.threading.get_intra_op_parallelism_threads() == 2
"""


def test_sums_are_added_up_in_the_order_of_the_graph():
    written("-c", SUMS)


def test_available_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert process.available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert process.available_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert process.available_cores() == 1


def test_the_c_library_is_told_to_keep_freed_memory_where_it_is_glibc(monkeypatch):
    told = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *option: told.append(option)))
    process._keep_freed_memory()
    assert sorted(option for option, _ in told) == [-3, -2, -1]
    assert all(0 < value < 2**31 for _, value in told)
    for error in (AttributeError, OSError, TypeError):

        def refuse(name, error=error):
            raise error

        monkeypatch.setattr(ctypes, "CDLL", refuse)
        process._keep_freed_memory()
    assert len(told) == 3
