import contextlib

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build, training
from maml_tf.supervised.datasets import DATASETS
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.training import Schedule
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.small_runs import assert_same_numbers
from tests.maml_tf.supervised.trainings import END, EVERY, METATRAIN, PRETRAIN, Killed, at_save, ctrl_c, kill


def test_training_trains(runs, straight):
    runs.training(straight.parent)
    build.store(straight.parent, runs.maml, runs.experiment()).restore()
    changed = [not np.array_equal(v.numpy(), old) for v, old in zip(runs.variables, runs.initial, strict=True)]
    assert sum(changed) > 0.7 * len(changed)
    for optimizer, iterations in ((runs.maml.pretrain_optimizer, PRETRAIN), (runs.maml.optimizer, METATRAIN)):
        assert int(optimizer.iterations.numpy()) == iterations


def test_resumed_runs_give_the_numbers_of_the_uninterrupted_one(runs, straight, tmp_path):
    """The run is interrupted in pretraining, between the phases and in meta-training, by Ctrl-C and by kills."""
    for iteration, act, saved in (
        (2, ctrl_c, 2),
        (PRETRAIN, kill, 2),
        (PRETRAIN, ctrl_c, PRETRAIN),
        (6, kill, 5),
        (7, ctrl_c, 7),
    ):
        run = at_save(runs.training(tmp_path, EVERY), iteration, act)
        with pytest.raises(Killed) if act is kill else contextlib.nullcontext():
            assert not run.run()
        assert available(tmp_path)[-1] == saved
    assert runs.training(tmp_path).run()
    assert_same_numbers(tmp_path / f"model{END}", straight)


def test_checkpoint_before_the_end_is_that_of_a_shorter_run(runs, straight, tmp_path):
    run = at_save(runs.training(tmp_path, EVERY), END - 1, ctrl_c)
    assert not run.run()
    short = tmp_path / "short"
    runs.training(short, metatrain=METATRAIN - 1).run()
    assert_same_numbers(tmp_path / f"model{END - 1}", short / f"model{END - 1}")
    runs.training(short).run()
    assert available(short) == [END - 1, END]
    assert_same_numbers(short / f"model{END}", straight)


def test_numbers_do_not_depend_on_schedule_and_log(runs, straight, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 30)
    runs.training(tmp_path, Schedule(summary=2, save=3, validate=4), log=True).run()
    assert available(tmp_path) == [3, 6, END]
    assert_same_numbers(tmp_path / f"model{END}", straight)
    lines = [line for line in capsys.readouterr().out.splitlines() if "validation" in line]
    assert [line.split(":")[0] for line in lines] == ["iteration 4", "iteration 8"]


def test_validation_says_how_many_tasks_diverge(sinusoids, tmp_path, monkeypatch, capsys):
    query = np.tile([[2.0, 0.5]], [600, 1])
    query[:3, 1] = np.nan
    monkeypatch.setattr(training.evaluation, "evaluate", lambda *_, **__: Evaluation("loss", query[:, 0], query))
    sinusoids.training(tmp_path, Schedule(summary=0, save=0, validate=END)).run()
    assert capsys.readouterr().out == (
        f"iteration {END}: validation loss after 10 updates nan +- nan (before: 2.0000); 3 of 600 tasks diverged after "
        "1 update; without them the mean is 0.5000 +- 0.000; the median of all is 0.5000\n"
    )


def test_finished_run_has_nothing_to_do(runs, straight, capsys):
    before = snapshot(straight.parent)
    for metatrain in (METATRAIN, METATRAIN - 2):  # also for fewer iterations than were done
        assert runs.training(straight.parent, EVERY, log=True, metatrain=metatrain).run()
    assert snapshot(straight.parent) == before
    assert "Resuming from the checkpoint of iteration 8" in capsys.readouterr().out


def test_run_that_is_not_resumed_leaves_the_earlier_one_in_peace(runs, straight, tmp_path, capsys):
    folder = tmp_path / "run"
    runs.training(folder, EVERY, seed=1, metatrain=METATRAIN + 2).run()
    before = snapshot(folder)
    runs.training(folder).run(resume=False)
    assert available(folder) == [END]
    assert_same_numbers(folder / f"model{END}", straight)
    assert snapshot(tmp_path / "run.old1") == before
    assert f"The earlier run is now in {tmp_path / 'run.old1'}" in capsys.readouterr().out


def test_other_settings_do_not_go_on_from_a_checkpoint(sinusoids, tmp_path):
    sinusoids.training(tmp_path, EVERY, metatrain=1).run()
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"--meta_lr=0.001 \(now 0.5\)"):
        sinusoids.training(tmp_path, meta_lr=0.5).run()
    assert snapshot(tmp_path) == before


def test_progress_shows_metrics_before_and_after_adaptation(sinusoids, tmp_path):
    status = sinusoids.training(tmp_path).training.status
    metrics = {name: np.array([0.25, 0.75]) for name in ("pre_loss", "pre_accuracy", "post_loss", "post_accuracy")}
    assert status(metrics) == "accuracy 0.500 -> 0.500"
    assert status({"pre_loss": np.array([1.0]), "post_loss": np.array([0.5])}) == "loss 1.000 -> 0.500"
    assert status({"pre_loss": np.array([1.0])}) == "loss 1.000"


def test_validation_takes_the_tasks_that_it_is_told(runs, tmp_path, monkeypatch):
    counts = []
    evaluate = training.evaluation.evaluate

    def noted(*args, num_tasks, **others):
        counts.append(num_tasks)
        return evaluate(*args, num_tasks=num_tasks, **others)

    monkeypatch.setattr(training.evaluation, "evaluate", noted)
    runs.training(tmp_path, Schedule(summary=0, save=0, validate=END, tasks=7)).run()
    assert set(counts) == {7}  # also in the call that compiles ahead, if any
    assert [DATASETS[name].validation_tasks for name in ("omniglot", "miniimagenet", "folder")] == [None, 200, 200]
