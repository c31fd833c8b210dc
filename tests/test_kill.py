"""`kill -9` of the real command at any moment: a resumed run ends with the numbers of an uninterrupted one."""

import random
import time

import pytest

from maml_tf.checkpoints import available
from tests import command
from tests.maml_tf.runs import assert_same_numbers

KILLS = 20
ITERATIONS = {"sinusoid": 6000, "omniglot": 1200}
# A checkpoint every few steps, so that many of the kills come while one is written.
ARGUMENTS = {
    # Its evaluation runs for a first time beside the training, to be compiled.
    "sinusoid": ("--pretrain_iterations=2000", "--metatrain_iterations=4000", "--validation_interval=6000"),
    "omniglot": (
        *("--datasource=omniglot", "--num_filters=8", "--meta_batch_size=4", "--data_dir=omniglot"),
        *("--pretrain_iterations=300", "--metatrain_iterations=900", "--validation_interval=0"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("datasource", ["sinusoid", "omniglot"])
def test_killed_runs_end_with_the_numbers_of_an_uninterrupted_one(datasource, tmp_path, request):
    if datasource == "omniglot":
        (tmp_path / "omniglot").symlink_to(request.getfixturevalue("real_omniglot"))
    arguments = (*ARGUMENTS[datasource], "--log=False")
    straight = command.run(tmp_path, *arguments, "--logdir=straight", "--save_interval=700")
    assert straight.returncode == 0, straight.stderr
    (straight_folder,) = (tmp_path / "straight").iterdir()

    folder = tmp_path / "killed" / straight_folder.name
    chance = random.Random(1)
    amid_a_checkpoint = 0
    for number, iteration in enumerate(sorted(chance.sample(range(int(0.95 * ITERATIONS[datasource])), KILLS))):
        process = command.start(tmp_path, *arguments, "--logdir=killed", "--save_interval=7")
        command.wait_for(process, lambda until=iteration: max(available(folder), default=-1) >= until)
        if number % 2:  # chance alone seldom meets the few milliseconds in which a checkpoint is written
            command.wait_for(process, (folder / "saving").exists, every=0.0005)
        else:
            time.sleep(chance.uniform(0, 0.1))
        process.kill()
        assert command.ended(process).returncode == -9
        amid_a_checkpoint += (folder / "saving").exists()
    assert amid_a_checkpoint > 0  # else it was not much of a test

    finished = command.run(tmp_path, *arguments, "--logdir=killed", "--save_interval=7")
    assert finished.returncode == 0, finished.stderr
    assert len(available(folder)) == 10
    assert not (folder / "saving").exists()
    end = f"model{ITERATIONS[datasource]}"
    assert_same_numbers(folder / end, straight_folder / end)
    for results in straight_folder.glob("test_*.csv"):
        assert (folder / results.name).read_text() == results.read_text()
