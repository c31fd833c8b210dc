"""Results (float64) of the original's environment classes; those that simulate were run on today's MuJoCo."""

import functools
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[2] / "goldens/rl/environments.npz"


@functools.cache
def goldens() -> dict[str, np.ndarray]:
    with np.load(FILE) as arrays:
        return dict(arrays)


def part(prefix: str) -> dict[str, np.ndarray]:
    """Returns the arrays whose names begin with the prefix and "/", by the rest of their names."""
    found = {key.removeprefix(prefix + "/"): value for key, value in goldens().items() if key.startswith(prefix + "/")}
    assert found, prefix
    return found
