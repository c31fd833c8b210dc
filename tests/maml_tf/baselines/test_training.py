"""The classifier's training: that it learns, resumes exactly, chooses its weights, and refuses what does not fit."""

import dataclasses
import os
import signal

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.baselines import training
from maml_tf.baselines.classifier import Settings, build, describe
from maml_tf.baselines.comparison import read_arrays
from maml_tf.baselines.training import progress_of
from maml_tf.runs import lock
from maml_tf.runs.loop import Interrupted
from maml_tf.supervised import evaluation
from maml_tf.supervised.evaluation import Evaluation
from tests.data_generators.synthetic_classes import classes, splits


def numbers(run):
    """All that is saved but the time it took."""
    arrays = read_arrays(run.path)
    progress = arrays.pop("progress").item()
    return arrays, progress[: progress.index('"seconds"')]


def assert_same(run, other):
    (arrays, progress), (expected, expected_progress) = numbers(run), numbers(other)
    assert arrays.keys() == expected.keys()
    assert [name for name in arrays if not np.array_equal(arrays[name], expected[name])] == []
    assert progress == expected_progress


def at_iteration(run, iteration, act):
    """Acts when an iteration is done, before it is saved."""
    check = run._check_finite

    def acting(loss):
        check(loss)
        if run.progress.iteration + 1 == iteration:
            act()

    run._check_finite = acting
    return run


def test_it_learns_to_tell_the_training_classes_apart(trained):
    assert trained.progress.iteration == 150
    assert trained.progress.accuracy > 0.7  # chance: 1 / 6
    assert trained.progress.seconds > 0
    assert progress_of(trained.path.parent) == trained.progress


def test_resumed_training_has_the_numbers_of_an_uninterrupted_one(trainings, tmp_path, capsys):
    straight = trainings.training(tmp_path / "straight")
    straight.run(10)
    interrupted = trainings.training(tmp_path / "interrupted")
    at_iteration(interrupted, 5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted):
        interrupted.run(10)
    assert progress_of(tmp_path / "interrupted").iteration == 5
    killed = trainings.training(tmp_path / "interrupted", save_every=7)

    def kill():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at_iteration(killed, 9, kill).run(10)
    assert progress_of(tmp_path / "interrupted").iteration == 7
    resumed = trainings.training(tmp_path / "interrupted")
    resumed.run(10)
    assert "Resuming the training of the classifier from iteration 7" in capsys.readouterr().out
    assert_same(resumed, straight)
    assert resumed.use_best_weights() == straight.use_best_weights()


def test_finished_training_is_taken_as_it_is(trainings, tmp_path):
    first = trainings.training(tmp_path)
    first.run(3)
    before = first.path.read_bytes()
    again = trainings.training(tmp_path)
    again.run(2)
    assert again.progress.iteration == 3
    assert first.path.read_bytes() == before
    assert again.use_best_weights() == first.use_best_weights()


def test_weights_are_those_with_the_best_accuracy_on_held_out_images(trainings, tmp_path, monkeypatch):
    accuracies = iter([0.3, 0.5, 0.4])
    judged = []

    def evaluate(maml, *arguments, **options):
        accuracy = next(accuracies)
        judged.append([v.numpy() for v in maml.model.variables])
        return Evaluation("accuracy", np.full(2, accuracy - 0.1), np.full((2, 1), accuracy + 0.1))

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    run = trainings.training(tmp_path, judge_every=2)
    run.run(6)
    assert (run.progress.accuracy, run.progress.best_iteration) == (pytest.approx(0.5), 4)
    last = [v.numpy() for v in run.maml.model.variables]
    run.use_best_weights()
    for value, best, other in zip(run.maml.model.variables, judged[1], last, strict=True):
        np.testing.assert_array_equal(value, best)
        assert "bias" in value.path or not np.array_equal(best, other)
    again = trainings.training(tmp_path)
    again.run(6)
    assert again.use_best_weights() == run.use_best_weights()


def test_other_settings_are_refused(trainings, tmp_path):
    run = trainings.training(tmp_path)
    run.run(1)
    before = run.path.read_bytes()
    other = dataclasses.replace(trainings.settings, num_filters=5, seed=3)
    with pytest.raises(
        UserError, match=r"made with --num_filters=8 \(now 5\), --seed=0 \(now 3\): give the same flags"
    ):
        trainings.training(tmp_path, other).run(2)
    fewer = splits(per_class=19)["train"]
    other = dataclasses.replace(trainings.settings, classes=describe(fewer))
    with pytest.raises(UserError, match=r"trained on other images, 6 classes, 120 images .*, 6 classes, 114 images"):
        trainings.training(tmp_path, other, fewer).run(2)
    assert run.path.read_bytes() == before


@pytest.mark.parametrize("contents", [b"", b"no npz", None])
def test_damaged_file_is_refused_and_left(trainings, tmp_path, contents):
    run = trainings.training(tmp_path)
    run.run(1)
    contents = run.path.read_bytes()[:1000] if contents is None else contents
    run.path.write_bytes(contents)
    with pytest.raises(UserError, match="is damaged or cannot be read"):
        trainings.training(tmp_path).run(2)
    with pytest.raises(UserError, match="is damaged or cannot be read"):
        progress_of(tmp_path)
    assert run.path.read_bytes() == contents


def test_npz_of_something_else_is_refused(trainings, tmp_path):
    np.savez(tmp_path / training.FILE, mine=np.zeros(3))
    with pytest.raises(UserError, match="is damaged or cannot be read"):
        trainings.training(tmp_path).run(2)
    assert progress_of(tmp_path / "nowhere") is None


def test_one_process_trains_at_a_time_but_anyone_reads(trainings, tmp_path, monkeypatch):
    trainings.training(tmp_path).run(2)
    assert os.listdir(tmp_path) == [training.FILE]  # the lock is gone
    monkeypatch.setattr(lock, "fcntl", None)
    (tmp_path / lock.NAME).write_text("7 elsewhere")
    for name in ("classifier.npz.123456789.part", "film.part"):
        (tmp_path / name).write_text("half")
    with pytest.raises(UserError, match=r"another process trains in .* \(process 7 on host elsewhere\)"):
        trainings.training(tmp_path).run(3)
    trainings.training(tmp_path).run(2)
    (tmp_path / lock.NAME).unlink()
    trainings.training(tmp_path).run(3)
    assert sorted(os.listdir(tmp_path)) == [training.FILE, "film.part"]


def test_folder_that_cannot_be_written(trainings, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write"):
        trainings.training(tmp_path / "file").run(1)
    assert (tmp_path / "file").read_text() == "mine"


def test_loss_that_is_not_finite_stops_the_training(trainings, tmp_path):
    run = trainings.training(tmp_path, save_every=1)
    run.run(2)
    before = run.path.read_bytes()
    broken = trainings.training(tmp_path, save_every=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broken.maml, "pretrain_step", lambda tasks: {"pre_loss": np.nan, "pre_accuracy": 0.0})
        with pytest.raises(UserError, match="no longer finite at iteration 3: training stops"):
            broken.run(4)
    assert run.path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_filters": 0}, "--num_filters must be at least 1, not 0"),
        ({"batch_size": -4}, "--batch_size must be at least 1, not -4"),
        ({"batch_size": 6}, "--batch_size must be a multiple of 4, not 6"),
        ({"learning_rate": 0.0}, "--learning_rate must be a positive number, not 0.0"),
        ({"held_out": 1.0}, "--held_out must lie between 0 and 1, not at 1.0"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
        ({"batch_size": 400}, "A minibatch of 400 images needs as many to train on"),
    ],
)
def test_settings_out_of_range(trainings, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        trainings.training(tmp_path / "none", dataclasses.replace(trainings.settings, **change))
    assert not (tmp_path / "none").exists()


def test_images_that_are_too_small():
    data = classes(["a", "b"], side=12)
    with pytest.raises(UserError, match="images of 12x12 are too small"):
        build(Settings("synthetic", describe(data)), (12, 12, 3), 2)


def test_description_differs_for_other_classes_or_images():
    described = [describe(classes(names, n)) for names, n in ((["a", "b"], 2), (["a", "c"], 2), (["a", "b"], 3))]
    assert len(set(described)) == 3
    assert described[0].startswith("2 classes, 4 images (")
