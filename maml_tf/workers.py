"""Several processes that share the tasks of every meta-batch, joined by TensorFlow: `Workers`.

tf.distribute connects them, sums over them, and detects when one is gone; nothing else is distributed.
"""

import contextlib
import functools
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_generators.errors import UserError, exit_code
from maml_tf.backend import tf
from maml_tf.distribution import Alone, WorkerEnded, WorkerLost

PATIENCE = 600  # seconds within which all workers must join
# Seconds within which the others must end after one has: first by themselves, then after it has told them to.
BY_THEMSELVES, WHEN_TOLD = 5, 20
_ENDED = "a worker has ended with exit code"  # what TensorFlow's errors then say in the other workers


class Workers(Alone):
    """Several processes, each with one device.

    It must be made before TensorFlow does anything else in the process, and waits until all have joined.

    Args:
        resolver: resolver of the cluster, whose addresses are all of its job "worker".
        patience: seconds within which all must join.

    Raises:
        WorkerLost: a worker has not joined in time.
    """

    _in_turn = False  # whether this process is within `chief_first`

    def __init__(self, resolver: tf.distribute.cluster_resolver.ClusterResolver, patience: int = PATIENCE):
        _limit_joining(resolver.cluster_spec().num_tasks("worker"), patience)
        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        except tf.errors.DeadlineExceededError as error:
            raise WorkerLost(
                f"not all workers have come within {patience} seconds: see what has become of them, and start all again"
            ) from error
        if len(self._strategy.extended.worker_devices) > 1:
            raise UserError("a worker uses one GPU: let each see one of them, by CUDA_VISIBLE_DEVICES")
        self.index, self.count = resolver.task_id, self._strategy.num_replicas_in_sync
        self._sums: dict[Any, Any] = {}

    def mean(self, tensors: Any, weight: int | tf.Tensor) -> Any:
        """See `Alone.mean`; sends one message for all tensors of a dtype."""
        flat = [tf.convert_to_tensor(t) for t in tf.nest.flatten(tensors)]
        means = list(flat)
        for dtype in dict.fromkeys(t.dtype for t in flat):
            places = [i for i, t in enumerate(flat) if t.dtype == dtype]
            own = tf.cast(weight, dtype)
            packed = tf.concat([*(tf.reshape(flat[i] * own, [-1]) for i in places), own[None]], 0)
            sizes = [*(_size(flat[i]) for i in places), 1]
            *parts, weights = tf.split(self._all_reduce(packed), sizes, num=len(sizes))
            for i, part in zip(places, parts, strict=True):
                means[i] = tf.ensure_shape(tf.reshape(part / weights[0], tf.shape(flat[i])), flat[i].shape)
        return tf.nest.pack_sequence_as(tensors, means)

    def any(self, flag: bool) -> bool:
        """See `Alone.any`."""
        return bool(self._sum(np.array([bool(flag)], np.int64))[0])

    def gathered(self, arrays: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        """See `Alone.gathered`."""
        first, _ = self.share(number)
        rows = {name: _row(array) for name, array in arrays.items()}
        whole = bytearray(number * sum(row.itemsize for row in rows.values()))
        start = 0
        for name, row in rows.items():
            own = np.ascontiguousarray(arrays[name]).tobytes()
            at = start + first * row.itemsize
            whole[at : at + len(own)] = own
            start += number * row.itemsize
        together, start, found = self._put_together(bytes(whole)), 0, {}
        for name, row in rows.items():
            shape = number, *arrays[name].shape[1:]
            found[name] = np.frombuffer(together, arrays[name].dtype, math.prod(shape), start).reshape(shape)
            start += number * row.itemsize
        return found

    def from_chief(self, data: bytes) -> bytes:
        """See `Alone.from_chief`."""
        size = int(self._sum(np.array([len(data) * self.is_chief]))[0])
        return self._put_together(data if self.is_chief else bytes(size))

    def copy_from_chief(self, variables: Sequence[Any]) -> None:
        """See `Alone.copy_from_chief`."""
        values = [np.asarray(variable) for variable in variables]
        own = b"".join(value.tobytes() for value in values)
        whole, start = self.from_chief(own), 0
        for variable, value in zip(variables, values, strict=True):
            of_chief = np.frombuffer(whole, value.dtype, value.size, start).reshape(value.shape)
            start += value.nbytes
            if of_chief.tobytes() != value.tobytes():
                variable.assign(of_chief)

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """See `Alone.chief_first`."""
        if not self.is_chief and (code := self._first_code(0)):
            raise WorkerEnded(code)
        own, self._in_turn = 0, True
        try:
            yield
        except BaseException as error:
            own = exit_code(error)
            raise
        finally:
            self._in_turn = False
            code = self._first_code(own)  # the chief's code tells the others whether to begin
            if self.is_chief and not own:
                code = self._first_code(0)
            if code and not own:
                raise WorkerEnded(code)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See `Alone.together`."""
        try:
            yield
            self.any(False)  # so that all are known to have come this far
        except tf.errors.OpError as error:
            if not _is_of_another(error):
                self._leave(exit_code(error))
                raise
            if told := re.search(rf"{_ENDED} (\d+)", str(error)):
                self._leave(code := int(told[1]))
                raise WorkerEnded(code) from error
            raise WorkerLost(
                f"another worker is gone ({type(error).__name__}): the latest checkpoint stays as it is; start all "
                "workers again by the same commands, and they resume from it"
            ) from error
        except BaseException as error:
            self._leave(exit_code(error))
            raise
        self._leave(0)

    def _leave(self, code):
        """Returns when all workers have come here, or have been told that this one has.

        If a worker ended its process earlier, those that are still busy with the last sum would take it for lost.
        """
        # In a thread, so that neither Ctrl-C nor the end of the process must wait for a chief that does not answer.
        farewell = threading.Thread(target=self._say_farewell, args=(code,), daemon=True)
        farewell.start()
        with contextlib.suppress(KeyboardInterrupt):
            farewell.join(BY_THEMSELVES + WHEN_TOLD)

    def _say_farewell(self, code):
        from tensorflow.python.eager import context  # private: the coordination service that the strategy uses

        service, here = context.context(), "ended{}".format
        # The chief runs the service, so it leaves last.
        awaited = [here(i) for i in range(1, self.count)] if self.is_chief else [here(0)]
        with contextlib.suppress(tf.errors.OpError):
            if not self.is_chief:
                service.set_config_key_value(here(self.index), "")
            if not _are_set(service, awaited, BY_THEMSELVES) and code:
                # Ends the sums in which the others wait for this worker; workers that are too slow are ended too.
                service.report_error_to_cluster(tf.errors.ABORTED, f"{_ENDED} {code}")
                _are_set(service, awaited, WHEN_TOLD)
            if self.is_chief:
                service.set_config_key_value(here(0), "")

    def _first_code(self, own):
        """The first exit code among the workers that is not 0, or 0."""
        codes = np.zeros(self.count, np.int64)
        codes[self.index] = own
        return next((int(code) for code in self._sum(codes) if code), 0)

    def _put_together(self, data):
        """Combines bytes of all processes; each byte is zero in all processes but one."""
        # Sums integers on any device: sums of floats would turn -0.0 into 0.0, and not every device adds up bytes.
        padded = np.frombuffer(data + bytes(-len(data) % 8), np.int64)
        return self._sum(padded).tobytes()[: len(data)]

    def _sum(self, array):
        """The sum of all processes' NumPy arrays of one shape."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("sums over workers pair by the order of their calls: call them in the main thread")
        if self._in_turn:
            raise RuntimeError("no sum over workers within chief_first, where the others are not there yet")
        key = array.shape, array.dtype.str
        if key not in self._sums:
            # A new partial, since TensorFlow warns of many tracings of one function.
            self._sums[key] = tf.function(functools.partial(self._all_reduce), autograph=False)
        return self._sums[key](tf.constant(array)).numpy()

    def _all_reduce(self, tensor):
        def replica():
            own = tf.identity(tensor)  # on this replica's device, which tf.distribute needs as the destination
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)

        return self._strategy.run(replica)


def _limit_joining(count, seconds):
    """Limits how long the strategy that is made next waits for all workers to join."""
    from tensorflow.python.eager import context  # private, but the strategy has no argument for this

    job = context.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=count)
    context.context().configure_coordination_service(
        "standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=1000 * seconds,
        coordinated_jobs=[job],
    )
    context.context().coordination_service.cluster_register_with_barrier = True  # without it the first waits forever


def _is_of_another(error):
    """Whether TensorFlow's error says that another worker cannot be reached, or has been restarted alone."""
    errors = tf.errors
    gone = errors.UnavailableError, errors.AbortedError, errors.CancelledError, errors.DeadlineExceededError
    return isinstance(error, gone) or "incarnation" in str(error)


def _are_set(service, keys, seconds):
    """Whether all keys of the coordination service are set within so many seconds."""
    end = time.monotonic() + seconds
    try:
        for key in keys:
            service.get_config_key_value(key, max(1, round(1000 * (end - time.monotonic()))))
    except tf.errors.DeadlineExceededError:
        return False
    return True


def _row(array):
    """The dtype of a row of an array."""
    return np.dtype((array.dtype, array.shape[1:]))


def _size(tensor):
    return tf.size(tensor) if tensor.shape.num_elements() is None else tensor.shape.num_elements()
