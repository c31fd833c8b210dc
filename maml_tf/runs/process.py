"""Sets TensorFlow's threads, arithmetic, memory, kernels and messages for the process, before TensorFlow is used.

This module can be imported without importing TensorFlow.
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
    """While entered, hides what TensorFlow's libraries print as they load; afterwards they log only fatal errors.

    Without it, every command on a machine without a GPU begins with "Could not find cuda drivers" and "failed call to
    cuInit". If TF_CPP_MIN_LOG_LEVEL is set in the environment, that level applies, and nothing is hidden. If the import
    fails, the hidden output is shown. Keras is loaded first, with TensorFlow as its backend, unless it is loaded
    already. Python's garbage collector is off meanwhile, and runs rarely afterwards.
    """
    with _quiet(), _few_collections():
        _load_keras()
        yield


@contextlib.contextmanager
def _few_collections():
    """Turns Python's garbage collector off while TensorFlow loads; later it runs rarely, and skips the loaded objects.

    Loading and tracing make many objects and drop almost none: the collector took a tenth of the time to the first
    step.
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
    """Loads TensorFlow, and with it Keras, but not the plotting packages that Keras loads if they are installed.

    This takes a tenth less time, and no command plots with Keras. Later imports find these packages as usual; only
    Keras does without them in this process.
    """
    if "keras" in sys.modules:
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"
    hidden = [name for name in _FOR_PICTURES if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None hides a package from imports
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
    # The level does not affect messages that the libraries print while they load, so stderr is redirected meanwhile.
    try:
        terminal = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    with _file() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _file():
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no space for a temporary file
        return open(os.devnull, "w+b")


TASKS_SIDE_BY_SIDE = "tasks"
LARGE_PRODUCTS = "products"


def configure(kind: str, cores: int | None = None, *, tf32: bool = False, deterministic: bool = False) -> None:
    """Sets TensorFlow's threads, its arithmetic and its memory, which are global to the process.

    Args:
        kind: TASKS_SIDE_BY_SIDE for a loop over tasks: one core per task is faster than splitting each operation over
            all cores (2.6 times for small convolutions). LARGE_PRODUCTS for a few large operations: all cores for each.
        cores: number of cores to use; default, those that this process may run on.
        tf32: whether GPUs since Ampere may multiply in TensorFloat-32, as TensorFlow does by default. It is faster, but
            has a mantissa of 10 bits, which leaves few correct digits in a meta-gradient through ReLU and pooling.
        deterministic: whether every operation gives the same bits each time, also on a GPU, where some become slower.

    If TensorFlow has been used already, as a notebook may have done, its threads stay as they are: a warning says so.
    """
    import tensorflow as tf  # not at the top: callers that only count cores need not wait for it

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
        with contextlib.suppress(RuntimeError):  # the GPU is in use already
            tf.config.experimental.set_memory_growth(gpu, True)  # otherwise TensorFlow takes all memory
    _add_up_in_order()
    _keep_freed_memory()


def _add_up_in_order():
    """Makes TensorFlow add tensors in the order of the graph, so that the same graph always rounds in the same way.

    In every graph that it expects to need more than 205 MB on a CPU, such as the meta-step of miniImagenet, its memory
    optimizer would turn a sum of three or more tensors into additions to a variable, each made as soon as its tensor is
    known.
    """
    import tensorflow as tf

    with contextlib.suppress(ImportError, AttributeError):  # private: tf.config.optimizer has no such option
        from tensorflow.python.eager.context import context

        config = copy.deepcopy(context()._config) or tf.compat.v1.ConfigProto()
        rewriting = config.graph_options.rewrite_options
        rewriting.memory_optimization = rewriting.NO_MEM_OPT
        context()._config = config
        context().function_call_options = None  # so that they are read again from the config


def _keep_freed_memory():
    """Makes glibc keep freed memory, since the kernel needs longer to clear new pages than a small operation to run.

    A meta-step frees and allocates thousands of arrays of about 100 kB. Otherwise glibc would map each of them anew.
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
    """The peak memory of this process in MB; None if the system does not report it."""
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
# Pixels per side. Compared with TensorFlow's own kernels, oneDNN's on 2 cores with AVX2 took 9 % longer for a meta-step
# at 28 pixels, but 4 % less at 42, 15 % less at 56 and 24 % less at 84.
_LARGE = 48


def kernel_environment(image_side: int) -> dict[str, str]:
    """Environment variables for images of this many pixels per side: they choose oneDNN's kernels for large images.

    By default, TensorFlow uses these kernels only on CPUs with instructions made for neural networks. If the user has
    set the variable, it stays as it is.
    """
    return {_SETTING: "1"} if image_side >= _LARGE and _SETTING not in os.environ else {}


def choose_kernels(image_side: int) -> None:
    """Sets `kernel_environment` for this process; does nothing if TensorFlow is imported already, which is too late."""
    if "tensorflow" not in sys.modules:
        os.environ.update(kernel_environment(image_side))
