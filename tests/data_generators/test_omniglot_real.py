"""The real Omniglot, where the environment variable MAML_TEST_DATA names a folder with omniglot/ in it."""

import io
import os
import statistics
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_generators.episodes import Episodes
from data_generators.omniglot import load_omniglot
from scripts import prepare_omniglot

DATA = os.environ.get("MAML_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MAML_TEST_DATA names no folder with the real data")


@pytest.fixture(scope="module")
def splits(real_omniglot):
    return load_omniglot(real_omniglot, download=False)


def test_all_images_are_there_and_binary(splits):
    assert {split: data.num_classes for split, data in splits.items()} == {"train": 1100, "val": 100, "test": 423}
    names = [name for data in splits.values() for name in data.names]
    assert len(set(names)) == 1623
    offsets = np.concatenate([data.offsets for data in splits.values()])
    assert np.array_equal(np.sort(offsets), np.arange(0, 32460, 20))
    images = splits["train"].images
    assert images.shape == (32460, 28, 28, 1)
    assert np.bincount(images.ravel(), minlength=256)[1:255].sum() == 0
    assert 0.05 < (images > 0).mean() < 0.15  # only ink is above 0


def test_split_never_changes(splits):
    assert splits["train"].names[:2] == ("Gurmukhi/character23", "Malayalam/character36")
    assert splits["val"].names[:2] == ("Tifinagh/character11", "N_Ko/character16")
    assert splits["test"].names[:2] == ("Keble/character04", "Atemayar_Qelisayer/character08")


def test_pixels_are_those_of_the_originals_resize(splits, real_omniglot):
    checked = 0
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(real_omniglot / f"{part}.zip") as archive:
            entries = sorted(archive.namelist())
            contents = {entry.removeprefix(f"{part}/"): archive.read(entry) for entry in entries if "/Hebrew/" in entry}
            contents |= {e.removeprefix(f"{part}/"): archive.read(e) for e in entries if "/Keble/character04/" in e}
        for data in splits.values():
            for name, offset in zip(data.names, data.offsets, strict=True):
                files = sorted(file for file in contents if file.startswith(f"{name}/"))
                for file, pixels in zip(files, data.images[offset:], strict=False):
                    image = Image.open(io.BytesIO(contents[file]))
                    resized = np.asarray(image.resize((28, 28), resample=Image.Resampling.LANCZOS))
                    assert np.array_equal(pixels[..., 0], np.where(resized, 0, 255))
                    checked += 1
    assert checked == (22 + 1) * 20


def test_cache_is_loaded_well_within_a_second_and_gives_the_same(splits, real_omniglot):
    start = time.process_time()
    again = load_omniglot(real_omniglot, download=False)
    assert time.process_time() - start < 0.7
    assert np.array_equal(again["train"].images, splits["train"].images)


def test_meta_batch_takes_less_than_5_ms(splits):
    episodes = Episodes(splits, ways=5, shots=1, queries=1, rotate=True)
    seconds = []
    for iteration in range(100):
        start = time.perf_counter()
        episodes.sample(0, "train", iteration, 32)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.005


def test_script_prints_what_there_is(splits, real_omniglot, capsys, no_network):
    assert prepare_omniglot.main([f"--data_dir={real_omniglot}", f"--base_url={no_network}"]) == 0
    output = capsys.readouterr().out
    assert output.splitlines() == [
        "train: 1100 characters, 22000 images",
        "val: 100 characters, 2000 images",
        "test: 423 characters, 8460 images",
    ]
