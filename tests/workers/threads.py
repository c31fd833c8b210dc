"""Workers that are threads of one process and communicate without TensorFlow's servers."""

import threading

import numpy as np

from data_generators.errors import UserError
from maml_tf.workers import Workers

PATIENCE = 60  # seconds after which threads that wait for each other count as stuck


class Threads:
    """Calls a function in several workers, each a thread.

    Sums are matched by the order of the calls, as in `Workers`. If only some threads call one, or their arrays have
    different shapes or dtypes, all threads that called it end with an error.
    """

    def __init__(self, count: int = 2):
        self.count = count
        self._barrier = threading.Barrier(count, timeout=PATIENCE)
        self._given = [np.zeros(0)] * count

    def call(self, function):
        """Calls function(worker) in each thread; returns what each call returned, or the exception that it raised."""
        outcomes = [None] * self.count

        def run(index):
            try:
                outcomes[index] = function(_Worker(self, index))
            except BaseException as error:
                outcomes[index] = error
                if not isinstance(error, UserError):
                    self._barrier.abort()  # so that the others stop waiting

        threads = [threading.Thread(target=run, args=(index,)) for index in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def sum(self, index, array):
        self._given[index] = array
        self._barrier.wait()
        assert len({(a.shape, a.dtype) for a in self._given}) == 1, [a.shape for a in self._given]
        total = np.sum(self._given, axis=0, dtype=array.dtype)
        self._barrier.wait()
        return total


class _Worker(Workers):
    def __init__(self, threads, index):
        self._threads, self.index, self.count = threads, index, threads.count

    def _sum(self, array):
        assert not self._in_turn, "a sum within chief_first"
        return self._threads.sum(self.index, array)
