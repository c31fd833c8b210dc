"""`python main.py` on checkpoints of the original code."""

import shutil

import pytest

from maml_tf import commands, problems
from maml_tf.checkpoints import Checkpoints
from maml_tf.experiment import Experiment
from tests.command import assert_refused
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf import original_checkpoints as original

SETTINGS = {"datasource": "omniglot", "num_classes": 2, "num_filters": 2, "meta_batch_size": 2}
FLAGS = tuple(f"--{name}={value}" for name, value in SETTINGS.items())
EXPERIMENT = Experiment.of(**SETTINGS)
RESULTS = "test_ubs1_stepsize0.4.csv"


@pytest.fixture
def weights(small_omniglot, monkeypatch, tmp_path):
    """A MAML, whose weights the original has saved in `authors/<run>/` and in `alone/`, without a `checkpoint` file."""
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 20)
    maml = problems.build(EXPERIMENT, problems.load(EXPERIMENT, None).source)
    for folder in (tmp_path / "authors" / EXPERIMENT.name, tmp_path / "alone"):
        original.write(folder / "model59000", original.weights(maml.model))
    return maml


def test_authors_layout_has_our_name():
    """That of logs/miniimagenet1shot in cbfinn/maml."""
    name = "cls_5.mbs_4.ubs_1.numstep5.updatelr0.01hidden32maxpoolbatchnorm"
    assert Experiment.of(datasource="miniimagenet").name == name


def test_original_checkpoint_is_tested_as_ours_with_the_same_weights(run_main, weights, tmp_path):
    Checkpoints(tmp_path / "ours" / EXPERIMENT.name, weights, EXPERIMENT).save(3)
    results = []
    for folder in (tmp_path / "authors" / EXPERIMENT.name, tmp_path / "alone", tmp_path / "ours" / EXPERIMENT.name):
        logdir = folder if folder.name == "alone" else folder.parent
        result = run_main(*FLAGS, "--train=False", f"--logdir={logdir}")
        assert result.returncode == 0, result.stderr
        assert ("of iteration 59000 of the original code" in result.stdout) == (logdir.name != "ours")
        assert f"  {'folder':21} {folder}\n" in result.stdout
        results.append((folder / RESULTS).read_text())
    assert results[0] == results[1] == results[2]


def test_a_checkpoint_file_beside_it_makes_no_difference(run_main, weights, tmp_path):
    (tmp_path / "alone" / "checkpoint").write_text('model_checkpoint_path: "/home/authors/model1"\n')
    result = run_main(*FLAGS, "--train=False", "--test_iter=59000", f"--logdir={tmp_path / 'alone'}")
    assert result.returncode == 0, result.stderr
    assert_refused(
        run_main(*FLAGS, "--train=False", "--test_iter=58000", f"--logdir={tmp_path / 'alone'}"),
        "no checkpoint of iteration 58000 in",
    )


def test_what_does_not_fit_is_refused(run_main, weights, tmp_path):
    damaged = shutil.copytree(tmp_path / "alone", tmp_path / "damaged") / "model59000.data-00000-of-00001"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = snapshot(tmp_path)
    test = ("--train=False", f"--logdir={tmp_path / 'alone'}")
    wider = (*FLAGS, "--num_filters=3", *test)
    assert_refused(
        run_main(*wider), "model59000 is of another architecture than that of these flags: model/conv1 is 3 x 3"
    )
    assert_refused(run_main(*FLAGS, "--norm=None", *test), "model/0/beta has no place")
    assert_refused(run_main(*FLAGS, "--learn_update_lr=True", *test), "which learns no step sizes")
    assert_refused(run_main(*FLAGS, "--train=False", f"--logdir={damaged.parent}"), "model59000 is damaged")
    assert_refused(run_main(*FLAGS, "--log=False", f"--logdir={tmp_path / 'authors'}"), "without the optimiser's state")
    assert snapshot(tmp_path) == before
