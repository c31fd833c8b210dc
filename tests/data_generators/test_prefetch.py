"""The prefetcher: order, bounds, errors, and no thread left behind."""

import threading
import time

import pytest

from data_generators.prefetch import Prefetcher


@pytest.fixture(autouse=True)
def _no_thread_left_behind():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_gives_every_iteration_in_order(depth):
    with Prefetcher(lambda i: i * i, start=3, stop=20, depth=depth) as batches:
        assert list(batches) == [i * i for i in range(3, 20)]
        assert list(batches) == []


def test_nothing_to_do():
    with Prefetcher(lambda i: i, start=5, stop=5) as batches:
        assert list(batches) == []


def test_draws_ahead_in_another_thread_but_no_further_than_depth():
    drawn = []
    with Prefetcher(lambda i: drawn.append((i, threading.current_thread())), depth=3) as batches:
        wait_until(lambda: len(drawn) == 3)
        time.sleep(0.02)
        assert len(drawn) == 3
        next(batches)
        wait_until(lambda: len(drawn) == 4)
        time.sleep(0.02)
        assert [i for i, _ in drawn] == [0, 1, 2, 3]
        assert {thread for _, thread in drawn}.isdisjoint({threading.current_thread()})


def test_exception_reaches_the_consumer_at_its_place_and_ends_the_iteration():
    def sample(i):
        if i == 2:
            raise OSError("disk gone")
        return i

    batches = Prefetcher(sample)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(OSError, match="disk gone"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_leaving_early_waits_for_the_draw_in_progress_and_drops_the_others():
    drawn, started, release = [], threading.Event(), threading.Event()

    def sample(i):
        started.set()
        release.wait(5)
        drawn.append(i)

    batches = Prefetcher(sample, depth=4)
    assert started.wait(5)
    threading.Timer(0.02, release.set).start()
    batches.close()
    batches.close()
    assert drawn == [0]
    assert list(batches) == []


def test_consumer_that_fails_ends_the_thread():
    with pytest.raises(ZeroDivisionError), Prefetcher(lambda i: i) as batches:
        1 / next(batches)
