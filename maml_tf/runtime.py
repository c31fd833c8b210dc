"""Threads and devices of the process. Called once by entry points, before TensorFlow does any work; never at import."""

import os

import tensorflow as tf

TASKS_SIDE_BY_SIDE = "tasks"
LARGE_PRODUCTS = "products"


def configure(kind, cores=None):
    """Sets TensorFlow's threads, which are global to the process.

    Args:
        kind: TASKS_SIDE_BY_SIDE for a loop over tasks: one core per task is faster than splitting each operation over
            all cores (2.6 times for small convolutions). LARGE_PRODUCTS for few large operations: all cores each.
        cores: number to use; default, those this process may run on.

    Raises:
        RuntimeError: TensorFlow has been initialised already.
    """
    cores = cores or available_cores()
    intra, inter = (1, cores) if kind == TASKS_SIDE_BY_SIDE else (cores, 1)
    tf.config.threading.set_intra_op_parallelism_threads(intra)
    tf.config.threading.set_inter_op_parallelism_threads(inter)


def available_cores():
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
