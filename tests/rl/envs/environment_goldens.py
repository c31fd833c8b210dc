"""What the original's environment classes computed, on today's MuJoCo where they simulate (float64)."""

import functools
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[2] / "goldens/rl/environments.npz"


@functools.cache
def goldens() -> dict[str, np.ndarray]:
    with np.load(FILE) as arrays:
        return dict(arrays)


def part(prefix: str) -> dict[str, np.ndarray]:
    """The arrays below a prefix, without it in their names."""
    found = {key.removeprefix(prefix + "/"): value for key, value in goldens().items() if key.startswith(prefix + "/")}
    assert found, prefix
    return found
