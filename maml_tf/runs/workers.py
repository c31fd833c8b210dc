"""Joins the workers of a command, and makes sure that all have the same flags, code, data and checkpoints.

Every worker runs the whole command. Only the chief uses the run's folder itself and prints; each other worker uses a
temporary copy of the folder, and its output is discarded.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import (
    expand_hostlist,
    expand_tasks_per_node,
)

from data_generators.errors import UserError, first_line
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs.checkpoints import BEST, available
from maml_tf.runs.flags import Flags
from maml_tf.workers import PATIENCE, Workers

# Ports of SLURM's steps: each step has its own range, so that steps of several jobs on one node rarely share a port.
_PORT, _STEPS, _OF_A_STEP = 8888, 1000, 16
_NO_PROXY = "no_grpc_proxy"  # lists the hosts that gRPC connects to without a proxy


@contextlib.contextmanager
def joined(patience: int = PATIENCE) -> Iterator[Alone]:
    """Joins the workers that this process belongs to, and yields them; call it before TensorFlow does anything else.

    TF_CONFIG names the workers, in the format that TensorFlow documents. If it is not set, the tasks of a SLURM step
    are the workers. To let each task of a step do a separate run, set TF_CONFIG={}.

    Args:
        patience: seconds within which all workers must join.

    Raises:
        UserError: TF_CONFIG or SLURM's variables cannot be used, or this worker's port is taken.
        WorkerEnded: another worker has ended with an error.
        WorkerLost: another worker has not joined, or can no longer be reached.
    """
    workers = _join(patience)
    with workers.together():
        if workers.is_chief:
            yield workers
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield workers


def refuse_several(what: str) -> None:
    """Raises UserError if there are several workers; `what` names the action that only one process can do."""
    if _cluster() is not None:
        raise UserError(f"{what} is done by one process: unset TF_CONFIG, or start one task")


def _join(patience):
    resolver = _cluster()
    if resolver is None:
        return ALONE
    addresses = resolver.cluster_spec().as_dict()["worker"]
    own = addresses[resolver.task_id]
    print(
        f"Worker {resolver.task_id} of {len(addresses)} at {own}, waiting for all: {', '.join(addresses)}", flush=True
    )
    # Clusters often have a proxy for outside connections; it would not let the workers' connections through.
    hosts = dict.fromkeys(address.rpartition(":")[0] for address in addresses)
    os.environ[_NO_PROXY] = ",".join([*filter(None, [os.environ.get(_NO_PROXY)]), *hosts])
    # Python's handlers would not run until TensorFlow has found the others, and TensorFlow itself ignores SIGTERM; so
    # meanwhile the system's default handlers end the process at once.
    numbers = signal.SIGINT, signal.SIGTERM
    previous = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        return Workers(resolver, patience)
    except tf.errors.OpError as error:
        raise UserError(f"the workers cannot join at {own} ({first_line(error)}): is its port taken?") from error
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def _cluster():
    """Returns the resolver of the workers' addresses, or None if this process works alone."""
    if os.environ.get("TF_CONFIG"):
        return _of_tf_config()
    if os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1" and "SLURM_PROCID" in os.environ:
        return _of_slurm()
    return None


def _of_tf_config():
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        jobs = config.get("cluster", {})
        if sum(map(len, jobs.values())) < 2:
            return None
        addresses = jobs.get("worker", [])
        kind, index = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"TF_CONFIG is not what TensorFlow documents ({type(error).__name__}: {error})") from error
    if others := sorted(set(jobs) - {"worker"} | {kind} - {"worker"}):
        raise UserError(
            f"TF_CONFIG names {', '.join(others)}: name all processes worker, the first of which is the chief"
        )
    if not isinstance(addresses, list) or not all(re.fullmatch(r".+:\d+", str(address)) for address in addresses):
        raise UserError(f"TF_CONFIG has the workers {addresses}: give a list of host:port")
    if len(set(addresses)) < len(addresses):
        raise UserError(f"TF_CONFIG has the workers {', '.join(addresses)}: give each an address of its own")
    if not 0 <= index < len(addresses):
        raise UserError(f"TF_CONFIG has {len(addresses)} workers, 0 to {len(addresses) - 1}, but the index {index}")
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _of_slurm():
    """Returns the resolver for the tasks of a step, whose addresses follow the step's nodes in SLURM's order.

    TensorFlow's SlurmClusterResolver sorts node10 before node9, and assumes that every task has a GPU.
    """
    step = {name: os.environ.get(f"SLURM_STEP_{name}", "") for name in ("NODELIST", "TASKS_PER_NODE")}
    try:
        index, job, number = (int(os.environ.get(f"SLURM_{n}", "0")) for n in ("PROCID", "JOB_ID", "STEP_ID"))
        hosts, counts = expand_hostlist(step["NODELIST"]), expand_tasks_per_node(step["TASKS_PER_NODE"])
        places = [(host, i) for host, count in zip(hosts, counts, strict=True) for i in range(count)]
        own_host, _ = places[index]
    except (ValueError, IndexError) as error:
        raise UserError(f"SLURM's variables of the step cannot be read ({error}): set TF_CONFIG") from error
    if os.environ.get("SLURMD_NODENAME", own_host) != own_host:
        raise UserError(
            f"task {index} is on {os.environ['SLURMD_NODENAME']}, where {own_host} was expected: start the tasks by "
            "srun --distribution=block"
        )
    first = _PORT + (job + 101 * number) % _STEPS * _OF_A_STEP
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": [f"{host}:{first + i}" for host, i in places]}),
        task_type="worker",
        task_id=index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )


def refuse_differences(workers: Alone, flags: Flags) -> None:
    """Raises UserError in all workers if one has other flags, other code or another TensorFlow than the chief.

    The flags --data_dir and --logdir may differ.

    Args:
        workers: Alone or Workers.
        flags: flags of the command.
    """
    if workers.count > 1:
        values = {name: value for name, value in flags.values().items() if name not in ("data_dir", "logdir")}
        own = {"flags": repr(sorted(values.items())).encode(), "code": _code()}
        _compare(workers, own | {"version of TensorFlow": tf.__version__.encode()})


def refuse_other_data(workers: Alone, fingerprint: Callable[[], bytes]) -> None:
    """Raises UserError in all workers if one has other data than the chief.

    Args:
        workers: Alone or Workers.
        fingerprint: function that returns bytes that identify the data.
    """
    if workers.count > 1:
        _compare(workers, {"data": fingerprint()})


def _compare(workers, own):
    digests = [hashlib.sha256(value).digest() for value in own.values()]
    of_chief, size = workers.from_chief(b"".join(digests)), len(digests[0])
    differ = [name for i, name in enumerate(own) if digests[i] != of_chief[i * size :][:size]]
    if workers.any(bool(differ)):
        other = f"worker {workers.index} has other {' and '.join(differ)} than worker 0"
        said = other if differ else "another worker differs from worker 0"
        alone = "; for runs of their own, set TF_CONFIG={}" if "SLURM_PROCID" in os.environ else ""
        raise UserError(f"{said}: start all workers by the same command, on the same code, data and packages{alone}")


def _code():
    """The project's source, as one text."""
    root = Path(__file__).parents[2]
    files = sorted(file for part in ("maml_tf", "data_generators", "rl") for file in (root / part).rglob("*.py"))
    return b"".join(str(file.relative_to(root)).encode() + file.read_bytes() for file in files)


@contextlib.contextmanager
def own_folder(workers: Alone, folder: Path, iteration: int | str | None = None) -> Iterator[Path]:
    """Yields the run's folder to the chief, and to others a temporary copy of what resuming and testing the run need.

    Args:
        workers: Alone or Workers.
        folder: the run's folder.
        iteration: iteration of a checkpoint that is needed in addition to the latest and the best ones.
    """
    packed = workers.from_chief(_packed(folder, iteration) if workers.count > 1 and workers.is_chief else b"")
    if workers.is_chief:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="worker") as around:
        own = Path(around, "run")  # in a folder of its own, since an earlier run may be moved beside it
        own.mkdir()
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(own)
        yield own


def _packed(folder, iteration):
    """Zips a run's latest checkpoint, the given one and the best ones, and its csv, json and npz files.

    Leaves out files that another process deletes meanwhile.
    """
    there, inside = available(folder), folder / BEST
    files = [file for i in there if i in (there[-1], iteration) for file in folder.glob(f"model{i}.*")]
    files += [file for i in available(inside) for file in inside.glob(f"model{i}.*")]
    files += [file for kind in ("csv", "json", "npz") for file in folder.glob(f"*.{kind}")]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", strict_timestamps=False) as archive:
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                archive.write(file, file.relative_to(folder))
    return stream.getvalue()
