"""The real miniImagenet, where the environment variable MAML_TEST_DATA names a folder with miniImagenet/ in it."""

import csv
import io
import os
import statistics
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_generators.episodes import Episodes
from data_generators.miniimagenet import load_miniimagenet
from scripts import prepare_miniimagenet

DATA = os.environ.get("MAML_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MAML_TEST_DATA names no folder with the real data")
CLASSES = {"train": 64, "val": 16, "test": 20}


def rows(split):
    with open(Path(DATA, "miniImagenet", f"{split}.csv"), newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The validation split, prepared from its tar."""
    folder = tmp_path_factory.mktemp("miniImagenet")
    source = Path(DATA, "miniImagenet")
    assert (
        prepare_miniimagenet.main([f"--source={source / 'val.tar'}", f"--csv_dir={source}", f"--data_dir={folder}"])
        == 0
    )
    return folder


@pytest.mark.parametrize("split", CLASSES)
def test_csv_files_have_600_images_of_every_class(split):
    labels = [row["label"] for row in rows(split)]
    assert len(set(labels)) == CLASSES[split]
    assert {labels.count(label) for label in set(labels)} == {600}


def test_every_image_is_where_the_csv_file_says(data_dir):
    data = load_miniimagenet(data_dir)["val"]
    assert data.images.shape == (9600, 84, 84, 3)
    assert data.lengths.tolist() == [600] * 16
    wanted = {f"{row['label']}/{row['filename']}" for row in rows("val")}
    assert {path.relative_to(data_dir / "val").as_posix() for path in data_dir.glob("val/*/*")} == wanted


def test_pixels_are_those_of_the_tar(data_dir):
    data = load_miniimagenet(data_dir)["val"]
    with tarfile.open(Path(DATA, "miniImagenet", "val.tar")) as archive:
        for place in range(0, 9600, 977):
            label = data.names[place // 600]
            name = sorted(row["filename"] for row in rows("val") if row["label"] == label)[place % 600]
            contents = archive.extractfile(f"val/{label}/{name}").read()
            assert (data_dir / "val" / label / name).read_bytes() == contents
            assert np.array_equal(data.images[place], Image.open(io.BytesIO(contents)))


def test_meta_batch_takes_less_than_a_twentieth_of_a_step(data_dir):
    episodes = Episodes(load_miniimagenet(data_dir), ways=5, shots=1, queries=15)
    seconds = []
    for iteration in range(30):
        start = time.thread_time()
        episodes.sample(0, "val", iteration, 4)
        seconds.append(time.thread_time() - start)
    assert statistics.median(seconds) < 0.06
