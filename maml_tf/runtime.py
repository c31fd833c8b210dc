"""Threads and devices of the process. Called once by entry points, before TensorFlow does any work; never at import."""

import ctypes
import os

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
    import tensorflow as tf  # not above: what merely counts cores need not wait for it

    cores = cores or available_cores()
    intra, inter = (1, cores) if kind == TASKS_SIDE_BY_SIDE else (cores, 1)
    tf.config.threading.set_intra_op_parallelism_threads(intra)
    tf.config.threading.set_inter_op_parallelism_threads(inter)
    _keep_freed_memory()


def _keep_freed_memory():
    """Has glibc keep freed memory, since the kernel takes longer to clear new pages than a small operation to run.

    A meta-step frees and allocates thousands of arrays of some 100 kB, each of which glibc would map anew.
    """
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    for option, value in ((m_mmap_threshold, 1 << 30), (m_trim_threshold, 2**31 - 1), (m_top_pad, 64 << 20)):
        mallopt(option, value)


def available_cores():
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
