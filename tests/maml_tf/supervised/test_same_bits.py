"""Tests that the same command gives the same bits with images of miniImagenet's size, also when it runs in parts."""

import pytest

from tests.data_generators.synthetic_images import tree, write
from tests.maml_tf.small_runs import assert_same_numbers
from tests.workers.started import run_folder, written

COMMAND = ("main.py", "--datasource=folder", "--image_size=84", "--num_classes=5", "--queries=15", "--num_updates=1")
COMMAND += ("--meta_batch_size=2", "--validation_interval=0", "--test_tasks=2")


@pytest.mark.slow
def test_training_with_75_queries_of_84_pixels_has_the_same_bits(tmp_path):
    classes = {f"{split}/{split}{i}": 16 for split in ("train", "val", "test") for i in range(5)}
    data = write(tmp_path / "data", tree(classes, width=84, height=84))

    def train(name, *ends):
        for end in ends:
            written(*COMMAND, f"--data_dir={data}", f"--logdir={tmp_path / name}", f"--metatrain_iterations={end}")
        return run_folder(tmp_path / name) / "model4"

    whole = train("whole", 4)
    assert_same_numbers(train("again", 4), whole)
    assert_same_numbers(train("in_parts", 2, 4), whole)
