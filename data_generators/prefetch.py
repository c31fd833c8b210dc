"""Draws the next meta-batches in the background while a step runs."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetcher(Generic[Batch]):
    """Iterates over sample(start), sample(start + 1), ... drawn in order by one background thread, a few ahead.

        with Prefetcher(lambda i: episodes.sample(seed, "train", i, 32), start, stop) as batches:
            for tasks in batches:
                ...

    Leaving the `with` block waits for the draw in progress, drops the others and ends the thread.

    Args:
        sample: function that draws the meta-batch of an iteration. Its exception is raised when that meta-batch is
            requested, and ends the loop.
        start: the first iteration.
        stop: iteration before which to end; None never ends.
        depth: number of meta-batches that are drawn ahead, and so held in memory.
    """

    def __init__(self, sample: Callable[[int], Batch], start: int = 0, stop: int | None = None, depth: int = 2):
        self._sample = sample
        self._next = start
        self._stop = stop
        self._drawn: deque[Future[Batch]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        for _ in range(depth):
            self._draw_one_more()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self._drawn:
            self.close()
            raise StopIteration
        try:
            batch = self._drawn.popleft().result()
        except BaseException:
            self.close()
            raise
        self._draw_one_more()
        return batch

    def __enter__(self) -> "Prefetcher[Batch]":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread, and with it the loop over meta-batches. May be called more than once."""
        self._drawn.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _draw_one_more(self):
        if self._stop is None or self._next < self._stop:
            self._drawn.append(self._thread.submit(self._sample, self._next))
            self._next += 1
