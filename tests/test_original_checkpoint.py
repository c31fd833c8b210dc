"""`python main.py` on checkpoints of the original code."""

import shutil

import numpy as np
import pytest

from maml_tf.supervised import build, commands
from maml_tf.supervised.build import load_run
from maml_tf.supervised.experiment import Experiment
from tests.command import assert_refused
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.supervised import original_checkpoints as original

SETTINGS = {"datasource": "omniglot", "num_classes": 2, "num_filters": 2, "meta_batch_size": 2}
FLAGS = tuple(f"--{name}={value}" for name, value in SETTINGS.items())
EXPERIMENT = Experiment.of(**SETTINGS)


@pytest.fixture
def weights(small_omniglot, monkeypatch, tmp_path):
    """A MAML. Its weights are saved as by the original in `authors/<run>/` and `alone/`, without `checkpoint` files."""
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 20)
    maml = build.build(EXPERIMENT, build.load(EXPERIMENT, None).source)
    for folder in (tmp_path / "authors" / EXPERIMENT.name, tmp_path / "alone"):
        original.write(folder / "model59000", original.weights(maml.model))
    return maml


def test_authors_layout_has_our_name():
    """A run in logs/miniimagenet1shot of cbfinn/maml has this name."""
    name = "cls_5.mbs_4.ubs_1.numstep5.updatelr0.01hidden32maxpoolbatchnorm"
    assert Experiment.of(datasource="miniimagenet").name == name


def test_weights_are_found_in_either_layout(weights, tmp_path):
    for logdir, folder in ((tmp_path / "alone",) * 2, (tmp_path / "authors", tmp_path / "authors" / EXPERIMENT.name)):
        run = load_run(EXPERIMENT, logdir)
        assert (run.iteration, run.folder, run.by_original) == (59000, folder, True)
        for variable, expected in zip(run.maml.weights, weights.weights, strict=True):
            np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    # The run's own folder takes precedence.
    build.store(tmp_path / "alone" / EXPERIMENT.name, weights, EXPERIMENT).save(3)
    run = load_run(EXPERIMENT, tmp_path / "alone")
    assert (run.iteration, run.folder, run.by_original) == (3, tmp_path / "alone" / EXPERIMENT.name, False)


def test_command_tests_it_and_an_inductive_test_leaves_the_transductive_one(run_main, weights, tmp_path):
    folder = tmp_path / "alone"
    (folder / "checkpoint").write_text('model_checkpoint_path: "/home/authors/model1"\n')  # may lie beside the weights
    (folder / "test_ubs1_stepsize0.4.csv").write_text("transductive")
    before = snapshot(folder)
    result = run_main(*FLAGS, "--train=False", "--transductive=false", f"--logdir={folder}")
    assert result.returncode == 0, result.stderr
    assert f"  {'folder':21} {folder}\n" in result.stdout
    assert "Testing the checkpoint of iteration 59000 of the original code" in result.stdout
    assert "\nnot transductive (inductive): " in result.stdout
    after = snapshot(folder)
    assert {name: after[name] for name in before} == before
    names = [f"test_ubs1_stepsize0.4_inductive.{ending}" for ending in ("csv", "pkl")]
    assert sorted(map(str, set(after) - set(before))) == names
    refused = run_main(*FLAGS, "--train=False", "--test_iter=58000", f"--logdir={folder}")
    assert_refused(refused, "no checkpoint of iteration 58000 in")


def test_what_does_not_fit_is_refused(run_main, weights, tmp_path):
    damaged = shutil.copytree(tmp_path / "alone", tmp_path / "damaged") / "model59000.data-00000-of-00001"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = snapshot(tmp_path)
    test = ("--train=False", f"--logdir={tmp_path / 'alone'}")
    wider = (*FLAGS, "--num_filters=3", *test)
    assert_refused(run_main(*wider), "model59000 has another architecture than these flags: model/conv1 is 3 x 3")
    assert_refused(run_main(*FLAGS, "--norm=None", *test), "model/0/beta has no place")
    assert_refused(run_main(*FLAGS, "--learn_update_lr=True", *test), "which learns no step sizes")
    assert_refused(run_main(*FLAGS, "--train=False", f"--logdir={damaged.parent}"), "model59000 is damaged")
    assert_refused(run_main(*FLAGS, "--log=False", f"--logdir={tmp_path / 'authors'}"), "without the optimiser's state")
    assert snapshot(tmp_path) == before
