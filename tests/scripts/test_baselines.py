"""The command of the two baselines, on small images and with a small network."""

import csv
import os
import signal

import pytest

from data_generators import miniimagenet
from maml_tf.baselines.training import ClassifierTraining
from maml_tf.runs import process
from scripts import baselines
from tests.data_generators.synthetic_classes import splits
from tests.data_generators.synthetic_omniglot import snapshot

QUICK = (
    *("--num_classes=2", "--num_filters=4", "--batch_size=8", "--iterations=4", "--logdir=logs", "--num_tasks=4"),
    *("--tuning_tasks=2", "--num_updates=2", "--step_sizes=0.1", "--decays=0"),
)


@pytest.fixture
def command(call, monkeypatch):
    """command(*arguments) runs on synthetic images instead of miniImagenet."""
    monkeypatch.setattr(process, "configure", lambda kind, **arithmetic: None)  # can only be done once in a process
    monkeypatch.setattr(miniimagenet, "load_miniimagenet", lambda data_dir: splits())
    return lambda *arguments: call(baselines.main, *arguments)


@pytest.mark.slow
def test_interrupted_resumed_and_finished(command, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "status", lambda self, metrics: os.kill(os.getpid(), signal.SIGINT) or "")
        stopped = command(*QUICK)
    assert stopped.returncode == 130
    assert "Stopped after 1 of 4 iterations, which are saved. Run the same command again to resume." in stopped.stdout

    result = command(*QUICK)
    assert result.returncode == 0, result.stderr
    assert "Resuming from the checkpoint of iteration 1" in result.stdout
    assert "2-way 1-shot miniimagenet: accuracy in % on 4 tasks" in result.stdout
    assert "4 filters, 4 iterations; taken at 4" in result.stdout
    assert "Fine-tuning baseline, ours, second half of val (3 classes)" in result.stdout
    assert "Nearest neighbor baseline, ours, test split (3 classes)" in result.stdout
    with open(tmp_path / "logs" / "baselines_2way_1shot.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["baseline"].split()[0], row["split"]) for row in rows] == [
        ("Nearest", "val"),
        ("Nearest", "test"),
        ("Fine-tuning", "val"),
        ("Fine-tuning", "test"),
    ]
    assert {row["tasks"] for row in rows} == {"4"}
    assert {row["classifier_iterations"] for row in rows} == {"4"}

    before = snapshot(tmp_path / "logs" / "classifier")
    resuming = "Resuming from the checkpoint of iteration 1\n"
    assert command(*QUICK).stdout == result.stdout.replace(resuming, "")
    refused = command(*QUICK, "--seed=1")
    assert refused.returncode == 2
    assert "was made with --seed=0 (now 1): give the same flags" in refused.stderr
    assert snapshot(tmp_path / "logs" / "classifier") == before


def test_data_without_classes_to_train_on(command, monkeypatch):
    without = {name: data for name, data in splits().items() if name != "train"}
    monkeypatch.setattr(miniimagenet, "load_miniimagenet", lambda data_dir: without)
    result = command(*QUICK)
    assert result.returncode == 2
    assert "training needs the splits train and val, but the data have only " in result.stderr


def test_breaking_off(command, monkeypatch, tmp_path):
    def ctrl_c(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(miniimagenet, "load_miniimagenet", ctrl_c)
    result = command(*QUICK)
    assert result.returncode == 130
    assert result.stderr.endswith("interrupted; run the same command again to resume\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--num_classes=4",), "4-way tasks on each half of the validation classes need 8 of them, but there are 6"),
        (("--iterations=0",), "--iterations must be at least 1, not 0"),
        (("--num_tasks=-1",), "--num_tasks must be at least 1, not -1"),
        ((f"--iterations={2**31}",), "--iterations must be at most 2147483647, not 2147483648"),
        ((f"--num_tasks={10**30}",), f"--num_tasks must be at most 2147483647, not {10**30}"),
        ((f"--num_filters={2**31}",), "--num_filters must be at most 65536, not 2147483648"),
        ((f"--batch_size={2**31}",), "--batch_size must be at most 1000000, not 2147483648"),
        ((f"--shots={2**31}",), "--shots must be at most 10000, not 2147483648"),
        ((f"--queries={2**31}",), "--queries must be at most 10000, not 2147483648"),
        ((f"--num_classes={2**31}",), "--num_classes must be at most 10000, not 2147483648"),
        ((f"--num_updates={2**31}",), "--num_updates must be at most 10000, not 2147483648"),
        ((f"--tuning_tasks={2**31}",), "--tuning_tasks must be at most 2147483647, not 2147483648"),
        (("--tuning_tasks=0",), "--tuning_tasks must be at least 1, not 0"),
        (("--num_updates=-2",), "--num_updates must be at least 1, not -2"),
        (("--step_sizes=0.1,nan",), "--step_sizes must be positive numbers"),
        (("--step_sizes=inf",), "--step_sizes must be positive numbers"),
        (("--decays=nan",), "--decays must be numbers that are not negative"),
        (("--learning_rate=nan",), "--learning_rate must be a positive number, not nan"),
        (("--held_out=nan",), "--held_out must lie between 0 and 1, not at nan"),
        (("--shots=0",), "--shots must be at least 1, not 0"),
        (("--queries=0",), "--queries must be at least 1, not 0"),
        (("--step_sizes=0",), "--step_sizes must be positive numbers"),
        (("--batch_size=7",), "--batch_size must be a multiple of 4, not 7"),
        ((f"--logdir={'a' * 300}",), "File name too long"),
        (("--logdir=x\udcff",), "is not UTF-8: choose another --logdir"),
        (("--datasource=sinusoid",), "the baselines classify images"),
        (("--datasource=imagenet",), "unknown datasource 'imagenet'"),
        (("--step_sizes=fast",), "flag --step_sizes=fast: could not convert string to float: 'fast'"),
    ],
)
def test_mistakes(command, tmp_path, arguments, message):
    result = command(*QUICK, *arguments)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_of_main_are_loaded(call, monkeypatch, small_omniglot, tmp_path):
    result = call(baselines.main, "--datasource=omniglot", "--num_classes=2")
    assert result.returncode == 2
    assert "2-way tasks on each half of the validation classes need 4 of them, but there are 2" in result.stderr
    missing = call(baselines.main, "--datasource=miniimagenet", "--data_dir=nowhere")
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1
    assert not (tmp_path / "logs").exists()
