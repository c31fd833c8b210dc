"""How a peer answers: timed blocks of steps, asked for on its standard input, as `scripts.benchmark_worker` does."""

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(block: Callable[[int], None], first: dict[str, Any], peak_mb: float | None, in_call: int = 1) -> None:
    """Writes a line of what is known before, then answers each line {"steps": 20} with milliseconds of a step.

    Args:
        block: does so many calls, and returns when they are done.
        first: of the first line.
        peak_mb: of memory.
        in_call: steps in a call.
    """
    print(json.dumps(first), flush=True)
    for line in sys.stdin:
        calls = math.ceil(json.loads(line)["steps"] / in_call)
        start = time.perf_counter()
        block(calls)
        seconds = time.perf_counter() - start
        print(json.dumps({"ms": 1e3 * seconds / (calls * in_call), "peak_mb": peak_mb}), flush=True)


def seconds(call: Callable[[], Any], times: int = 2) -> float:
    """The least time of some calls, after one that warms up."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)
