"""Threads, arithmetic, devices, kernels and messages of the process, which entry points set before TensorFlow works.

Imports no TensorFlow itself.
"""

import contextlib
import copy
import ctypes
import gc
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """While entered, holds back what TensorFlow's libraries write as they load; afterwards they log fatal errors only.

    Without it, every command on a machine without a GPU begins with "Could not find cuda drivers" and "failed call to
    cuInit". Where TF_CPP_MIN_LOG_LEVEL is set in the environment, it holds, and nothing is held back. If the import
    fails, what was held back is shown. Keras, where it is not loaded yet, is loaded first, on TensorFlow. Python's
    garbage collector rests meanwhile, and runs rarely afterwards.
    """
    with _quiet(), _few_collections():
        _load_keras()
        yield


@contextlib.contextmanager
def _few_collections():
    """While TensorFlow loads, Python's garbage collector rests; later it runs rarely, and leaves out what was loaded.

    Loading and tracing make much and drop almost nothing: the collector took a tenth of the time to the first step.
    """
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
        gc.set_threshold(50_000, 20, 5)
    finally:
        gc.enable()


_FOR_PICTURES = "matplotlib", "IPython"


def _load_keras():
    """Loads TensorFlow, and by it Keras, without what Keras takes for pictures where it is there: in a tenth less time.

    No command draws by Keras. What imports these packages later finds them; Keras itself does not, in this process.
    """
    if "keras" in sys.modules:
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"
    hidden = [name for name in _FOR_PICTURES if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is as if it were not installed
    try:
        import tensorflow  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _quiet():
    if _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "3"
    # The level comes too late for what the libraries say while they load, so the terminal is cut off for so long.
    try:
        terminal = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with _file() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            with contextlib.suppress(OSError):  # nobody may be there to read it
                os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _file():
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no disk has room
        return open(os.devnull, "w+b")


TASKS_SIDE_BY_SIDE = "tasks"
LARGE_PRODUCTS = "products"


def configure(kind: str, cores: int | None = None, *, tf32: bool = False, deterministic: bool = False) -> None:
    """Sets TensorFlow's threads, its arithmetic and its memory, which are global to the process.

    Args:
        kind: TASKS_SIDE_BY_SIDE for a loop over tasks: one core per task is faster than splitting each operation over
            all cores (2.6 times for small convolutions). LARGE_PRODUCTS for few large operations: all cores each.
        cores: number to use; default, those this process may run on.
        tf32: whether GPUs since Ampere may multiply in TensorFloat-32, as TensorFlow has it by default: faster, but
            with 10 bits of the mantissa, which leaves few right digits in a meta-gradient through ReLU and pooling.
        deterministic: whether every operation gives the same bits each time, on a GPU too, where some are slower so.

    In a notebook that has used TensorFlow already, its threads stay as they are: a warning says so.
    """
    import tensorflow as tf  # not above: what merely counts cores need not wait for it

    cores = cores or available_cores()
    intra, inter = (1, cores) if kind == TASKS_SIDE_BY_SIDE else (cores, 1)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(intra)
        tf.config.threading.set_inter_op_parallelism_threads(inter)
    except RuntimeError:
        message = "TensorFlow was used before in this process and keeps its threads, so that steps may take longer"
        logging.getLogger(__name__).warning(message)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # it is in use already
            tf.config.experimental.set_memory_growth(gpu, True)  # otherwise TensorFlow takes all of it
    _add_up_in_order()
    _keep_freed_memory()


def _add_up_in_order():
    """Has TensorFlow add up tensors in the order of the graph, so that the same graph always rounds the same.

    Its memory optimizer would turn a sum of three or more into additions to a variable, each as soon as its tensor is
    known, in every graph that it takes to need more than 205 MB on a CPU: that of a meta-step of miniImagenet is one.
    """
    import tensorflow as tf

    with contextlib.suppress(ImportError, AttributeError):  # private, for tf.config.optimizer has no such option
        from tensorflow.python.eager.context import context

        config = copy.deepcopy(context()._config) or tf.compat.v1.ConfigProto()
        rewriting = config.graph_options.rewrite_options
        rewriting.memory_optimization = rewriting.NO_MEM_OPT
        context()._config = config
        context().function_call_options = None  # they are read from it again


def _keep_freed_memory():
    """Has glibc keep freed memory, since the kernel takes longer to clear new pages than a small operation to run.

    A meta-step frees and allocates thousands of arrays of some 100 kB. Otherwise glibc would map each of them again.
    """
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    for option, value in ((m_mmap_threshold, 1 << 30), (m_trim_threshold, 2**31 - 1), (m_top_pad, 64 << 20)):
        mallopt(option, value)


def available_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> float | None:
    """The most memory that this process ever held, in MB; None where the system does not tell."""
    try:
        # Not `ru_maxrss`: on Linux it includes the memory of the parent process.
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6
    except (OSError, TypeError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


_SETTING = "TF_ENABLE_ONEDNN_OPTS"
# Pixels a side. Against TensorFlow's own kernels, meta-steps by oneDNN on 2 cores with AVX2 took 9 % longer at 28, and
# 4 % less at 42, 15 % less at 56 and 24 % less at 84.
_LARGE = 48


def kernel_environment(image_side: int) -> dict[str, str]:
    """Environment variables for images of this many pixels a side: oneDNN's kernels for large ones.

    TensorFlow itself takes them only on CPUs with instructions made for neural networks. Where the user has set the
    variable, that holds.
    """
    return {_SETTING: "1"} if image_side >= _LARGE and _SETTING not in os.environ else {}


def choose_kernels(image_side: int) -> None:
    """Sets them for this process; too late, and therefore left, once TensorFlow has been imported."""
    if "tensorflow" not in sys.modules:
        os.environ.update(kernel_environment(image_side))
