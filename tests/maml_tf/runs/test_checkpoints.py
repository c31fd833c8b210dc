import dataclasses
import shutil

import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs import checkpoints
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs.stores import EXPERIMENT, assert_numbers, everything, fill, make_maml
from tests.maml_tf.small_runs import assert_same_numbers


def test_everything_that_the_run_needs_comes_back(saved, tiny_maml):
    _, folder, numbers = saved
    other = make_maml(seed=1)
    assert build.store(folder, other, EXPERIMENT).restore() == 10
    assert len(numbers) == len(everything(tiny_maml)) > 4 * len(tiny_maml.weights)
    assert_numbers(everything(other), numbers)
    fill(other, 1)
    path = build.store(folder.parent / "other", other, EXPERIMENT).save(5)
    assert_same_numbers(folder / "model5", path)


def test_checkpoint_holds_its_experiment(saved):
    assert checkpoints.read_settings(saved[1] / "model10") == dataclasses.asdict(EXPERIMENT)


def test_latest_is_by_number_and_any_can_be_asked_for(saved):
    store, folder, _ = saved
    store.save(9)
    assert available(folder) == [5, 9, 10]
    assert checkpoints.find(folder) == 10
    assert store.restore() == 10
    assert store.restore(5) == 5


def test_only_the_latest_are_kept(tiny_maml, tmp_path):
    store = build.store(tmp_path, tiny_maml, EXPERIMENT)
    (tmp_path / "model7.notes").write_text("not ours, but named like ours")
    for iteration in range(100, 1300, 100):
        store.save(iteration)
    assert available(tmp_path) == list(range(300, 1300, 100))
    assert len(list(tmp_path.glob("model*.data-*"))) == 10
    assert (tmp_path / "model7.notes").exists()
    assert not (tmp_path / "saving").exists()


def test_no_checkpoint(tiny_maml, tmp_path):
    for folder in (tmp_path, tmp_path / "not there"):
        assert available(folder) == []
        with pytest.raises(UserError, match=r"no checkpoint in .*: train first"):
            build.store(folder, tiny_maml, EXPERIMENT).restore()


def test_checkpoint_that_is_not_there_lists_those_that_are(saved):
    with pytest.raises(UserError, match=r"no checkpoint of iteration 7 in .*; there are: 5, 10$"):
        saved[0].restore(7)


def test_other_settings_are_refused_by_name(saved, tiny_maml):
    other = dataclasses.replace(EXPERIMENT, meta_lr=0.5, seed=3)
    before = [v.numpy() for v in everything(tiny_maml)]
    with pytest.raises(UserError) as error:
        build.store(saved[1], tiny_maml, other).restore()
    assert "was made with --meta_lr=0.001 (now 0.5), --seed=0 (now 3): give the same flags" in str(error.value)
    assert_numbers(everything(tiny_maml), before)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Experiment)])
def test_every_setting_counts_but_the_duration(saved, tiny_maml, field):
    value = getattr(EXPERIMENT, field)
    changed = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}2"
    store = build.store(saved[1], tiny_maml, dataclasses.replace(EXPERIMENT, **{field: changed}))
    if field == "metatrain_iterations":
        assert store.restore() == 10
    else:
        with pytest.raises(UserError, match=rf"--{field}="):
            store.restore()


def test_pretraining_may_be_prolonged_where_nothing_follows_it(tiny_maml, tmp_path):
    only = {"metatrain_iterations": 0}
    build.store(tmp_path, tiny_maml, Experiment.of(pretrain_iterations=5, **only)).save(5)
    assert build.store(tmp_path, tiny_maml, Experiment.of(pretrain_iterations=9, **only)).restore() == 5
    followed = Experiment.of(pretrain_iterations=9, metatrain_iterations=1, learn_update_lr=True)
    with pytest.raises(UserError, match=r"--pretrain_iterations=5 \(now 9\)"):
        build.store(tmp_path, tiny_maml, followed).restore()


@pytest.mark.parametrize("other", [{"hidden": (5,)}, {"hidden": (4, 4)}, {"learn": False, "hidden": (3,)}])
def test_checkpoint_of_another_model(saved, other):
    with pytest.raises(UserError, match=r"model10 is damaged or of another model"):
        build.store(saved[1], make_maml(**other), EXPERIMENT).restore()


def test_foreign_checkpoint(saved):
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(saved[1] / "model20"))
    with pytest.raises(UserError, match=r"model20 is damaged, or not a checkpoint of this project"):
        saved[0].restore()


def test_a_run_that_was_prolonged_says_so_in_its_next_checkpoints(saved, tiny_maml):
    _, folder, _ = saved
    longer = dataclasses.replace(EXPERIMENT, metatrain_iterations=90)
    store = build.store(folder, tiny_maml, longer)
    store.restore()
    assert checkpoints.read_settings(store.save(20)) == dataclasses.asdict(longer)
    assert checkpoints.read_settings(folder / "model10") == dataclasses.asdict(EXPERIMENT)


def test_earlier_run_is_put_aside_whole(saved):
    _, folder, _ = saved
    (folder / "test.csv").write_text("results")
    before = snapshot(folder)
    aside = checkpoints.put_aside(folder)
    assert aside == folder.with_name("run.old1")
    assert snapshot(aside) == before
    assert not folder.exists()
    shutil.copytree(aside, folder)
    assert checkpoints.put_aside(folder) == folder.with_name("run.old2")
    assert snapshot(aside) == before


def test_an_earlier_run_that_has_only_best_checkpoints_is_put_aside_too(saved):
    _, folder, _ = saved
    (folder / checkpoints.BEST).mkdir()
    for file in folder.glob("model*"):
        file.rename(folder / checkpoints.BEST / file.name)
    before = snapshot(folder)
    assert before
    aside = checkpoints.put_aside(folder)
    assert aside is not None
    assert snapshot(aside) == before


def test_a_run_that_cannot_be_put_aside_is_one_sentence(saved, monkeypatch):
    _, folder, _ = saved

    def refuse(*paths):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(folder), "rename", refuse)
    with pytest.raises(UserError, match=r"cannot rename .*run to .*run\.old1 \(Permission denied\): move it yourself"):
        checkpoints.put_aside(folder)


def test_nothing_is_put_aside_where_there_is_no_checkpoint(tmp_path):
    (tmp_path / "data.txt").write_text("mine")
    assert checkpoints.put_aside(tmp_path) is None
    assert checkpoints.put_aside(tmp_path / "not there") is None
    assert (tmp_path / "data.txt").read_text() == "mine"


def test_the_run_behind_a_link_is_put_aside_beside_itself(saved, tmp_path):
    _, folder, _ = saved
    before, link = snapshot(folder), folder.with_name("link")
    link.symlink_to(folder)
    aside = checkpoints.put_aside(link)
    assert aside == folder.resolve().with_name("run.old1")
    assert snapshot(aside) == before
    assert link.is_symlink()
    assert list(folder.iterdir()) == []


def test_a_checkpoint_in_a_folder_whose_name_is_a_pattern_is_not_called_damaged(saved):
    _, folder, _ = saved
    moved = folder.rename(folder.with_name("run [1]"))
    with pytest.raises(UserError, match="takes for a pattern when it reads: rename the folder to read it"):
        checkpoints.read_settings(moved / "model10")
