"""Measures this machine's rate of float32 matrix products: `python -m scripts.sgemm` prints it in GFLOP/s.

It is the yardstick of `scripts.benchmark`, in a process of its own because each library brings its own threads.
"""

import statistics
import time

import numpy as np


def gflops(size=2048, repeats=20):
    """The median rate, in GFLOP/s, of NumPy's product of two square float32 matrices."""
    a, b = np.random.default_rng(0).standard_normal((2, size, size), np.float32)
    product = np.empty_like(a)
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        np.matmul(a, b, out=product)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[2:]) / 1e9  # the first two wake the threads


if __name__ == "__main__":
    print(gflops())
