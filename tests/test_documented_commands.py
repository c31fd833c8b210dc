"""The documented commands, run for real with fewer iterations and, for images, a smaller network."""

import os

import pytest

from maml_tf.runs.checkpoints import available
from tests import command

pytestmark = pytest.mark.slow

SINUSOID = "--datasource=sinusoid --logdir=logs/sine/ --norm=None --update_batch_size=10"
FIVE_WAY = "--datasource=omniglot --meta_batch_size=32 --update_batch_size=1 --update_lr=0.4 --num_updates=1"
TWENTY_WAY = (
    "--datasource=omniglot --meta_batch_size=16 --update_batch_size=1 --num_classes=20 --update_lr=0.1 --num_updates=5"
)


def train_and_test(folder, line):
    """Trains and tests with one command, tests again with another, and compares the results."""
    result = command.run(folder, *line.split())
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "0000 " not in result.stderr  # TensorFlow's log messages begin like this
    (written,) = folder.glob("logs/*/*/test_*.csv")
    figures = written.read_text()
    written.unlink()
    again = command.run(folder, *line.split(), "--train=False", "--test_set=True")
    assert (again.returncode, again.stderr) == (0, "")
    assert written.read_text() == figures


@pytest.mark.parametrize(
    "line",
    [
        f"{SINUSOID} --metatrain_iterations=70",
        f"{SINUSOID} --pretrain_iterations=70 --metatrain_iterations=0",
        f"{SINUSOID} --pretrain_iterations=70 --metatrain_iterations=0 --baseline=oracle",
        "--metatrain_iterations=70 --norm=batch_norm --num_updates=2",
        "--metatrain_iterations=70 --norm=layer_norm --stop_grad=True",
        "--metatrain_iterations=70 --learn_update_lr=True",
    ],
)
def test_sinusoid(tmp_path, line):
    train_and_test(tmp_path, line)


@pytest.mark.parametrize(
    "line",
    [
        f"{FIVE_WAY} --logdir=logs/omniglot5way/ --num_filters=8",
        f"{TWENTY_WAY} --logdir=logs/omniglot20way/ --num_filters=4",
        f"{FIVE_WAY} --conv=False --meta_batch_size=2",
        f"{FIVE_WAY} --max_pool=True --norm=layer_norm --num_filters=4 --meta_batch_size=2",
    ],
)
def test_omniglot(tmp_path, real_omniglot, line):
    train_and_test(tmp_path, f"{line} --metatrain_iterations=3 --validation_interval=0 --data_dir={real_omniglot}")


@pytest.mark.parametrize("datasource", ["sinusoid", "omniglot"])
def test_first_step_comes_within_30_seconds(tmp_path, request, datasource):
    more = [f"--data_dir={request.getfixturevalue('real_omniglot')}"] if datasource == "omniglot" else []
    process = command.start(tmp_path, f"--datasource={datasource}", "--save_interval=1", "--logdir=logs", *more)
    command.wait_for(process, lambda: any(available(folder) for folder in tmp_path.glob("logs/*")))
    process.kill()
    _, _, usage = os.wait4(process.pid, 0)
    process.communicate()
    # CPU time, since other processes may be using the machine. On an idle machine, no more time than this passes.
    assert usage.ru_utime + usage.ru_stime < 30
