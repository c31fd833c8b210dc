"""`main.py` with the best checkpoints on validation: tests after training, by name and of ensembles, and exports."""

import itertools
import json
import shutil

import numpy as np
import pytest

from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build, commands, training
from maml_tf.supervised.build import load_run
from maml_tf.supervised.experiment import Experiment
from tests.command import assert_refused
from tests.data_generators.synthetic_omniglot import snapshot

RUN = (
    *("--log=False", "--jit=false", "--task_axis=map", "--logdir=runs"),
    *("--meta_batch_size=2", "--metatrain_iterations=4", "--meta_lr=0.1"),
)
FILES = "test_ubs10_stepsize0.01"


@pytest.fixture(autouse=True)
def _few_tasks(monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 20)
    monkeypatch.setattr(commands, "EVALUATION_TASKS", 20)


@pytest.fixture
def run_main(run_main, built_once, monkeypatch):
    """Like the shared fixture `run_main`, but all commands use the same MAML."""

    def call(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(build, "build", built_once)
            return run_main(*arguments)

    return call


@pytest.fixture
def best_first(monkeypatch):
    """Ranks every validation below all earlier ones, so that the first is the best."""
    count = itertools.count()
    monkeypatch.setattr(training, "rank", lambda evaluation: (0.0, float(next(count))))


@pytest.fixture(scope="module")
def kept():
    """Holds the result of the training, which the first test that needs it stores for the others."""
    return {}


@pytest.fixture
def trained(run_main, best_first, kept, tmp_path, tmp_path_factory):
    """What the training printed, and the folder of a copy of the run. Its best checkpoint is that of iteration 2."""
    if not kept:
        result = run_main(*RUN, "--validation_interval=2")
        assert result.returncode == 0, result.stderr
        kept |= {"printed": result.stdout, "runs": tmp_path_factory.mktemp("trained") / "runs"}
        shutil.move(tmp_path / "runs", kept["runs"])
    (folder,) = shutil.copytree(kept["runs"], tmp_path / "runs").iterdir()
    return kept["printed"], folder


def results(folder):
    return {path.name: path.read_bytes() for path in folder.glob("test_*")}


def test_a_training_tests_its_last_checkpoint_and_then_the_best(trained, run_main):
    out, folder = trained
    assert available(folder) == [4]
    assert available(folder / "best") == [2, 4]
    _, last, best = out.split("Testing the checkpoint of iteration ")
    assert last.startswith("4\n")
    assert last.endswith(f"{FILES}.csv\n")
    assert best.startswith("2, the best on validation\n")
    assert "\nbest on validation\n" in best
    assert best.endswith(f"{FILES}_best.csv\n")
    tested = results(folder)
    assert len(tested) == 4
    for flags in (("--test_iter=latest",), ("--test_iter=-1",), ("--test_iter=4",)):
        assert run_main(*RUN, "--train=False", *flags).returncode == 0
        assert results(folder) == tested
    again = run_main(*RUN, "--train=False", "--test_iter=best")
    assert again.stdout.endswith(best)
    assert results(folder) == tested
    assert (folder / f"{FILES}.csv").read_text() != (folder / f"{FILES}_best.csv").read_text()


def test_a_test_of_another_iteration_has_files_of_its_own(trained, run_main):
    _, folder = trained
    tested = results(folder)
    result = run_main(*RUN, "--train=False", "--test_iter=2")
    assert "Testing the checkpoint of iteration 2\n" in result.stdout
    assert result.stdout.endswith(f"{FILES}_iter2.csv\n")
    of_best = {name: tested[f"{FILES}_best.{name}"] for name in ("csv", "pkl")}  # the best is of iteration 2, too
    assert results(folder) == tested | {f"{FILES}_iter2.{name}": content for name, content in of_best.items()}


def test_a_best_checkpoint_that_is_the_last_is_tested_once(run_main, tmp_path):
    result = run_main(*RUN, "--validation_interval=4")
    assert result.stdout.count("Testing the checkpoint") == 1
    assert not list(tmp_path.glob("runs/*/*_best.csv"))


def test_a_test_of_an_earlier_best_is_written_anew_on_either_split(run_main, monkeypatch, tmp_path):
    """If the last checkpoint becomes the best, the test file of the best must not remain that of an earlier one."""
    ranks = itertools.chain([0.0, 1.0], itertools.count(-1.0, -1.0))
    monkeypatch.setattr(training, "rank", lambda evaluation: (0.0, next(ranks)))
    command = (*RUN, "--validation_interval=2", "--test_set=False")
    assert run_main(*command).returncode == 0  # iteration 2 of 4 is the best
    assert run_main(*command, "--metatrain_iterations=6").returncode == 0  # iteration 6 is the best
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / f"{FILES}_val_best.csv").read_bytes() == (folder / f"{FILES}_val.csv").read_bytes()
    assert len(results(folder)) == 4


def test_ensembles_have_files_of_their_own(trained, run_main):
    _, folder = trained
    test = (*RUN, "--train=False", "--transductive=false")
    assert run_main(*test, "--test_iter=best").returncode == 0
    result = run_main(*test, "--ensemble=1")
    assert "Testing the ensemble of the checkpoints of iterations 2\n" in result.stdout
    best, alone = (folder / f"{FILES}{suffix}_inductive.csv" for suffix in ("_best", "_ensemble1"))
    assert alone.read_bytes() == best.read_bytes()
    result = run_main(*test, "--ensemble=2")
    assert "Testing the ensemble of the checkpoints of iterations 2, 4\n" in result.stdout
    assert "\nensemble of the 2 best on validation\n" in result.stdout
    assert (folder / f"{FILES}_ensemble2_inductive.csv").read_bytes() != alone.read_bytes()
    assert_refused(run_main(*test, "--ensemble=3"), "holds 2 of the 3 checkpoints asked for: give --ensemble=2, or")


def test_the_best_is_exported_and_loaded(trained, run_main, tmp_path):
    _, folder = trained
    assert run_main(*RUN, "--test_iter=best", "--export_dir=exported").returncode == 0
    about = json.loads((tmp_path / "exported" / "assets.extra" / "maml.json").read_text())
    assert about["iteration"] == 2
    experiment = Experiment.of(metatrain_iterations=4, meta_batch_size=2, meta_lr=0.1)
    best, latest = (load_run(experiment, "runs", iteration=which, jit=False) for which in ("best", None))
    assert (best.iteration, latest.iteration, best.folder.resolve()) == (2, 4, folder)
    assert load_run(experiment, "runs", iteration=2, jit=False).iteration == 2  # only best/ has it
    assert not np.array_equal(best.maml.weights[0], latest.maml.weights[0])


def test_a_run_that_was_killed_before_its_first_checkpoint_but_the_best(trained, run_main):
    """Its best checkpoint can be tested. With --resume=False, the run is put aside like any other."""
    _, folder = trained
    tested = results(folder)
    for file in [*folder.glob("model*"), *folder.glob("test_*")]:
        file.unlink()
    before = snapshot(folder / "best")
    for logdir in ("--logdir=runs", f"--logdir={folder}"):
        result = run_main(*RUN, logdir, "--train=False", "--test_iter=best")
        assert result.returncode == 0, result.stderr
        assert results(folder) == {name: tested[name] for name in tested if "_best." in name}
    assert_refused(run_main(*RUN, "--train=False"), "no checkpoint in ")
    result = run_main(*RUN, "--resume=False", "--metatrain_iterations=1", "--validation_interval=0")
    assert result.returncode == 0, result.stderr
    aside = folder.with_name(f"{folder.name}.old1")
    assert snapshot(aside / "best") == before
    assert available(folder) == [1]


def test_a_run_without_best_checkpoints_says_what_to_do(run_main, tmp_path):
    assert run_main(*RUN, "--validation_interval=0").returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    before = snapshot(folder)
    what = "since the run was not validated, or only by an earlier version: resume it for more iterations, or name"
    for flags in ("--test_iter=best", "--ensemble=2"):
        assert_refused(run_main(*RUN, "--train=False", flags), what)
    assert_refused(run_main(*RUN, "--test_iter=best", "--export_dir=exported"), what)
    assert snapshot(folder) == before
    shutil.rmtree(folder)
    assert_refused(run_main(*RUN, "--train=False", "--test_iter=best"), "train first, with the same settings")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--test_iter=best",), "--test_iter goes with --train=False"),
        (("--ensemble=2",), "--ensemble goes with --train=False: train first, and then test the ensemble"),
        (("--ensemble=2", "--test_iter=best"), "--ensemble and --test_iter name different checkpoints"),
        (("--ensemble=2", "--export_dir=out"), "--ensemble and --export_dir do not go together"),
        (("--ensemble=6",), "--ensemble must be at most 5, not 6"),
        (("--test_iter=first",), "flag --test_iter=first: give an integer, or latest or best"),
    ],
)
def test_flags_that_do_not_fit(run_main, flags, message):
    assert_refused(run_main(*RUN, *flags), message)
