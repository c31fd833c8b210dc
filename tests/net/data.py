"""Writes small image data for commands: the same on every machine, and without modules of the project."""

import json

import numpy as np
from PIL import Image

_CHARACTERS, _PER_CHARACTER, _SIDE = 1623, 20, 28


def omniglot(folder, noise=0.1):
    """Writes omniglot/ with the file of decoded images that `main.py` makes of Omniglot, but with random images.

    Every character is a random pattern of coarse squares; `noise` is the share of pixels that is flipped in each image.
    """
    random = np.random.default_rng(0)
    patterns = random.random((_CHARACTERS, 1, 7, 7)) < 0.5
    images = np.kron(patterns, np.ones((1, 1, 4, 4), bool)).repeat(_PER_CHARACTER, axis=1)
    noisy = images ^ (random.random(images.shape, np.float32) < noise)
    (folder / "omniglot").mkdir(parents=True)
    np.savez(
        folder / "omniglot" / "omniglot_28x28.npz",
        made=json.dumps({"format": 1, "from": {}}),
        bits=np.packbits(noisy.reshape(-1, _SIDE * _SIDE), axis=1),
        names=[f"Alphabet/character{i:04d}" for i in range(_CHARACTERS)],
    )


def pictures(folder):
    """Writes mine/<split>/<class>/<image>.png: 20 x 18 pixels, 17 to 20 images of each of three or four classes."""
    random = np.random.default_rng(0)
    for split, count in {"train": 4, "val": 3, "test": 3}.items():
        for number in range(count):
            pattern = np.kron(random.integers(0, 200, (3, 2, 3)), np.ones((6, 10, 1), int))
            path = folder / "mine" / split / f"{split}_{number}"
            path.mkdir(parents=True)
            for i in range(17 + number):
                pixels = pattern + random.integers(0, 56, pattern.shape)
                Image.fromarray(pixels.astype(np.uint8)).save(path / f"{i}.png")
