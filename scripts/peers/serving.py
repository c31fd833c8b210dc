"""Times the blocks of steps that a peer's standard input asks for, as `scripts.benchmark_worker` does."""

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(block: Callable[[int], None], first: dict[str, Any], peak_mb: float | None, in_call: int = 1) -> None:
    """Prints a first line of JSON, then answers each line {"steps": 20} with the milliseconds of a step.

    Args:
        block: function that does a number of calls, and returns when they are done.
        first: dict for the first line.
        peak_mb: peak memory in MB, which each answer repeats.
        in_call: number of steps in a call.
    """
    print(json.dumps(first), flush=True)
    for line in sys.stdin:
        calls = math.ceil(json.loads(line)["steps"] / in_call)
        start = time.perf_counter()
        block(calls)
        seconds = time.perf_counter() - start
        print(json.dumps({"ms": 1e3 * seconds / (calls * in_call), "peak_mb": peak_mb}), flush=True)


def seconds(call: Callable[[], Any], times: int = 2) -> float:
    """Returns the shortest time of some calls in seconds, after a warm-up call."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)
