"""Tests that the classifier's training learns, resumes exactly, keeps the best weights, and refuses what is wrong."""

import dataclasses
import os
import signal

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.baselines.experiment import ClassifierSettings
from maml_tf.baselines.training import build, iterations_done
from maml_tf.runs import lock
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import evaluation
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.task_data import describe
from tests.data_generators.synthetic_classes import classes, splits
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.small_runs import assert_same_numbers


def at_iteration(run, iteration, act):
    """Makes the run call `act` when an iteration is done, before it is saved; returns the run."""
    advance = run.advance

    def acting(start, stop):
        for done, metrics in advance(start, stop):
            if done == iteration:
                act()
            yield done, metrics

    run.advance = acting
    return run


def latest(run):
    return run.folder / f"model{available(run.folder)[-1]}"


def test_it_learns_to_tell_the_training_classes_apart(trained):
    assert iterations_done(trained.folder) == 150
    assert trained.accuracy > 0.7  # chance: 1 / 6


def test_resumed_training_has_the_numbers_of_an_uninterrupted_one(trainings, tmp_path, capsys):
    straight = trainings.training(tmp_path / "straight", 10)
    assert straight.run()
    interrupted = trainings.training(tmp_path / "interrupted", 10)
    assert not at_iteration(interrupted, 5, lambda: os.kill(os.getpid(), signal.SIGINT)).run()
    assert iterations_done(tmp_path / "interrupted") == 5
    killed = trainings.training(tmp_path / "interrupted", 10, save_every=7)

    def kill():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at_iteration(killed, 9, kill).run()
    assert iterations_done(tmp_path / "interrupted") == 7
    resumed = trainings.training(tmp_path / "interrupted", 10)
    assert resumed.run()
    assert "Resuming from the checkpoint of iteration 7" in capsys.readouterr().out
    assert_same_numbers(latest(resumed), latest(straight))
    assert (resumed.best_iteration, resumed.accuracy) == (straight.best_iteration, straight.accuracy)


def test_finished_training_is_taken_as_it_is(trainings, tmp_path):
    first = trainings.training(tmp_path, 3)
    first.run()
    before = snapshot(tmp_path)
    again = trainings.training(tmp_path, 2)
    assert again.run()
    assert snapshot(tmp_path) == before
    assert again.use_best_weights() == first.use_best_weights()


def test_weights_are_those_with_the_best_accuracy_on_held_out_images(trainings, tmp_path, monkeypatch):
    accuracies = iter([0.3, 0.5, 0.4])
    evaluated = []

    def evaluate(maml, *arguments, **options):
        accuracy = next(accuracies)
        evaluated.append([v.numpy() for v in maml.model.variables])
        return Evaluation("accuracy", np.full(2, accuracy - 0.1), np.full((2, 1), accuracy + 0.1))

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    run = trainings.training(tmp_path, 6, evaluate_every=2)
    run.run()
    assert (run.accuracy, run.best_iteration) == (pytest.approx(0.5), 4)
    last = [v.numpy() for v in run.maml.model.variables]
    run.use_best_weights()
    for value, best, other in zip(run.maml.model.variables, evaluated[1], last, strict=True):
        np.testing.assert_array_equal(value, best)
        assert "bias" in value.path or not np.array_equal(best, other)
    again = trainings.training(tmp_path, 6)
    again.run()
    assert again.use_best_weights() == run.use_best_weights()


def test_other_settings_are_refused(trainings, tmp_path):
    trainings.training(tmp_path, 1).run()
    before = snapshot(tmp_path)
    other = dataclasses.replace(trainings.settings, num_filters=5, seed=3)
    with pytest.raises(
        UserError, match=r"made with --num_filters=8 \(now 5\), --seed=0 \(now 3\): give the same flags"
    ):
        trainings.training(tmp_path, 2, other).run()
    fewer = splits(per_class=19)["train"]
    other = dataclasses.replace(trainings.settings, classes=describe(fewer))
    with pytest.raises(UserError, match=r"other images, 6 classes, 120 images .*, than these, 6 classes, 114 images"):
        trainings.training(tmp_path, 2, other, fewer).run()
    with pytest.raises(UserError, match="for a new classifier, another --logdir"):
        trainings.training(tmp_path, 1, other, fewer).run()  # the training is finished, but had other images
    assert snapshot(tmp_path) == before


def test_damaged_checkpoint_is_refused_and_left(trainings, tmp_path):
    run = trainings.training(tmp_path, 1)
    run.run()
    file = latest(run).with_suffix(".data-00000-of-00001")
    file.write_bytes(file.read_bytes()[:1000])
    before = snapshot(tmp_path)
    for iterations in (1, 2):
        with pytest.raises(UserError, match="model1 is damaged"):
            trainings.training(tmp_path, iterations).run()
    assert snapshot(tmp_path) == before


def test_one_process_trains_at_a_time_but_anyone_reads(trainings, tmp_path, monkeypatch):
    trainings.training(tmp_path, 2).run()
    assert not (tmp_path / lock.NAME).exists()
    monkeypatch.setattr(lock, "fcntl", None)
    (tmp_path / lock.NAME).write_text("7 elsewhere")
    for name in ("classifier.npz.123456789.part", "film.part"):
        (tmp_path / name).write_text("half")
    with pytest.raises(UserError, match=r"another process trains in .* \(process 7 on host elsewhere\)"):
        trainings.training(tmp_path, 3).run()
    trainings.training(tmp_path, 2).run()
    (tmp_path / lock.NAME).unlink()
    trainings.training(tmp_path, 3).run()
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("model")} == {"film.part"}


def test_folder_that_cannot_be_written(trainings, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write"):
        trainings.training(tmp_path / "file", 1).run()
    assert (tmp_path / "file").read_text() == "mine"


def test_loss_that_is_not_finite_stops_the_training(trainings, tmp_path):
    trainings.training(tmp_path, 2, save_every=1).run()
    before = snapshot(tmp_path)
    broken = trainings.training(tmp_path, 4, save_every=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broken.maml, "pretrain_step", lambda tasks: {"pre_loss": np.nan, "pre_accuracy": 0.0})
        with pytest.raises(UserError, match="no longer finite at iteration 3: training stops"):
            broken.run()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_filters": 0}, "--num_filters must be at least 1, not 0"),
        ({"batch_size": -4}, "--batch_size must be at least 1, not -4"),
        ({"batch_size": 6}, "--batch_size must be a multiple of 4, not 6"),
        ({"learning_rate": 0.0}, "--learning_rate must be a positive number, not 0.0"),
        ({"held_out": 1.0}, "--held_out must lie between 0 and 1, not at 1.0"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(UserError, match=message):
        ClassifierSettings.of(datasource="synthetic", classes="", **change)


def test_minibatches_of_more_images_than_there_are(trainings, tmp_path):
    with pytest.raises(UserError, match="A minibatch of 400 images needs as many to train on"):
        trainings.training(tmp_path / "none", 1, dataclasses.replace(trainings.settings, batch_size=400))
    assert not (tmp_path / "none").exists()


def test_images_that_are_too_small():
    data = classes(["a", "b"], side=12)
    with pytest.raises(UserError, match="images of 12x12 are too small"):
        build(ClassifierSettings.of(datasource="synthetic", classes=describe(data)), (12, 12, 3), 2)


def test_description_differs_for_other_classes_or_images():
    described = [describe(classes(names, n)) for names, n in ((["a", "b"], 2), (["a", "c"], 2), (["a", "b"], 3))]
    assert len(set(described)) == 3
    assert described[0].startswith("2 classes, 4 images (")
