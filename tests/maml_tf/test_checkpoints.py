import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import checkpoints, losses, networks
from maml_tf.checkpoints import Checkpoints, available
from maml_tf.experiment import Experiment
from maml_tf.meta_learner import MAML
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs import assert_same_numbers

EXPERIMENT = Experiment.of(learn_update_lr=True)


def make_maml(seed=0, hidden=(4,), learn=True):
    keras.utils.set_random_seed(seed)
    return MAML(networks.mlp((1,), 1, hidden), losses.mse, learn_step_size=learn)


def everything(maml):
    return [
        *maml.model.variables,
        *maml.step_sizes,
        *maml.optimizer.variables,
        *maml.pretrain_optimizer.variables,
    ]


def fill(maml, seed):
    """Gives every variable, optimisers' state included, numbers of its own."""
    random = np.random.default_rng(seed)
    for variable in everything(maml):
        variable.assign(random.integers(1, 1000, variable.shape).astype(variable.dtype))
    return [v.numpy() for v in everything(maml)]


def assert_numbers(variables, numbers):
    for variable, number in zip(variables, numbers, strict=True):
        np.testing.assert_array_equal(variable.numpy(), number)


@pytest.fixture(scope="module")
def maml():
    return make_maml()


@pytest.fixture
def saved(maml, tmp_path):
    """Checkpoints at 5 and 10, the folder, and the numbers of the latter."""
    store = Checkpoints(tmp_path / "run", maml, EXPERIMENT)
    fill(maml, 1)
    store.save(5)
    numbers = fill(maml, 2)
    store.save(10)
    return store, tmp_path / "run", numbers


def test_everything_that_the_run_needs_comes_back(saved, maml):
    _, folder, numbers = saved
    other = make_maml(seed=1)
    assert Checkpoints(folder, other, EXPERIMENT).restore() == 10
    assert len(numbers) == len(everything(maml)) > 4 * len(maml.weights)
    assert_numbers(everything(other), numbers)
    fill(other, 1)
    path = Checkpoints(folder.parent / "other", other, EXPERIMENT).save(5)
    assert_same_numbers(folder / "model5", path)


def test_checkpoint_holds_its_experiment(saved):
    assert checkpoints.read_experiment(saved[1] / "model10") == dataclasses.asdict(EXPERIMENT)


def test_latest_is_by_number_and_any_can_be_asked_for(saved):
    store, folder, _ = saved
    store.save(9)
    assert available(folder) == [5, 9, 10]
    assert checkpoints.find(folder) == 10
    assert store.restore() == 10
    assert store.restore(5) == 5


def test_only_the_latest_are_kept(maml, tmp_path):
    store = Checkpoints(tmp_path, maml, EXPERIMENT)
    (tmp_path / "model7.notes").write_text("not ours, but named like ours")
    for iteration in range(100, 1300, 100):
        store.save(iteration)
    assert available(tmp_path) == list(range(300, 1300, 100))
    assert len(list(tmp_path.glob("model*.data-*"))) == 10
    assert (tmp_path / "model7.notes").exists()
    assert not (tmp_path / "saving").exists()


def test_no_checkpoint(maml, tmp_path):
    for folder in (tmp_path, tmp_path / "not there"):
        assert available(folder) == []
        with pytest.raises(UserError, match=r"no checkpoint in .*: train first"):
            Checkpoints(folder, maml, EXPERIMENT).restore()


def test_checkpoint_that_is_not_there_lists_those_that_are(saved):
    with pytest.raises(UserError, match=r"no checkpoint of iteration 7 in .*; there are: 5, 10$"):
        saved[0].restore(7)


def test_other_settings_are_refused_by_name(saved, maml):
    other = dataclasses.replace(EXPERIMENT, meta_lr=0.5, seed=3)
    before = [v.numpy() for v in everything(maml)]
    with pytest.raises(UserError) as error:
        Checkpoints(saved[1], maml, other).restore()
    assert "was made with --meta_lr=0.001 (now 0.5), --seed=0 (now 3): give the same flags" in str(error.value)
    assert_numbers(everything(maml), before)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Experiment)])
def test_every_setting_counts_but_the_duration(saved, maml, field):
    value = getattr(EXPERIMENT, field)
    changed = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}2"
    store = Checkpoints(saved[1], maml, dataclasses.replace(EXPERIMENT, **{field: changed}))
    if field == "metatrain_iterations":
        assert store.restore() == 10
    else:
        with pytest.raises(UserError, match=rf"--{field}="):
            store.restore()


def test_pretraining_may_be_prolonged_where_nothing_follows_it(maml, tmp_path):
    only = {"metatrain_iterations": 0, "learn_update_lr": True}
    Checkpoints(tmp_path, maml, Experiment.of(pretrain_iterations=5, **only)).save(5)
    assert Checkpoints(tmp_path, maml, Experiment.of(pretrain_iterations=9, **only)).restore() == 5
    followed = Experiment.of(pretrain_iterations=9, metatrain_iterations=1, learn_update_lr=True)
    with pytest.raises(UserError, match=r"--pretrain_iterations=5 \(now 9\)"):
        Checkpoints(tmp_path, maml, followed).restore()


@pytest.mark.parametrize("other", [{"hidden": (5,)}, {"hidden": (4, 4)}, {"learn": False, "hidden": (3,)}])
def test_checkpoint_of_another_model(saved, other):
    with pytest.raises(UserError, match=r"model10 is damaged or of another model"):
        Checkpoints(saved[1], make_maml(**other), EXPERIMENT).restore()


def test_foreign_checkpoint(saved):
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(saved[1] / "model20"))
    with pytest.raises(UserError, match=r"model20 is damaged, or not a checkpoint of this project"):
        saved[0].restore()


def empty(content):
    return b""


def half(content):
    return content[: len(content) // 2]


def all_but_the_end(content):
    return content[: int(len(content) * 0.99)]


def zero_from_the_middle(content):
    middle = len(content) // 2
    return content[:middle] + bytes(len(content) - middle)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("damage", [empty, half, all_but_the_end, zero_from_the_middle, None])
def test_damaged_checkpoint(saved, ending, damage):
    store, folder, _ = saved
    file = folder / f"model10{ending}"
    if damage:
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.unlink()
    before = snapshot(folder)
    if ending == ".index" and not damage:
        assert store.restore() == 5  # half of a checkpoint is none
        return
    with pytest.raises(UserError, match=r"model10 is damaged") as error:
        store.restore()
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before
    assert store.restore(5) == 5


def test_no_flipped_bit_goes_unnoticed(saved, maml):
    store, folder, numbers = saved
    random = np.random.default_rng(0)
    file = folder / "model10.data-00000-of-00001"
    whole = file.read_bytes()
    for position in random.integers(len(whole), size=60):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        with pytest.raises(UserError, match=r"model10 is damaged"):
            store.restore()
    file.write_bytes(whole)
    store.restore()
    assert_numbers(everything(maml), numbers)


class Killed(BaseException):
    """Stands in for a kill: nothing in the code may catch it."""


def operations(monkeypatch, until=None):
    """Counts what `save` does to files; the process "dies" just before operation `until`."""
    done = []

    def noted(name, function):
        def call(path, *args, **kwargs):
            if len(done) == until:
                raise Killed
            done.append((name, Path(path).name))
            return function(path, *args, **kwargs)

        return call

    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    monkeypatch.setattr(Path, "unlink", noted("unlink", Path.unlink))
    monkeypatch.setattr(Path, "rmdir", noted("rmdir", Path.rmdir))
    monkeypatch.setattr(shutil, "rmtree", noted("rmtree", shutil.rmtree))
    return done


def test_a_kill_between_any_two_operations_leaves_whole_checkpoints_only(maml, tmp_path, monkeypatch):
    def begin(folder):
        store = Checkpoints(folder, maml, EXPERIMENT, keep=2)
        fill(maml, 1)
        store.save(5)
        store.save(10)
        fill(maml, 2)
        return store

    store = begin(tmp_path / "all")
    with monkeypatch.context() as patch:
        done = operations(patch)
        store.save(15)
    assert len(done) >= 6
    assert [name for kind, name in done if kind == "replace"] == ["model15.data-00000-of-00001", "model15.index"]
    for until in range(len(done)):
        folder = tmp_path / str(until)
        store = begin(folder)
        with monkeypatch.context() as patch:
            operations(patch, until)
            with pytest.raises(Killed):
                store.save(15)
        there = available(folder)
        assert there[0] in (5, 10)
        assert {5, 10} <= set(there) or 15 in there
        for iteration in there:
            assert store.restore(iteration) == iteration
        store.save(20)  # what the kill left is in nobody's way
        assert available(folder)[-1] == 20
        assert not (folder / "saving").exists()


def test_writing_over_a_checkpoint_never_leaves_a_mixture(maml, tmp_path, monkeypatch):
    for until in range(10):
        store = Checkpoints(tmp_path / str(until), maml, EXPERIMENT)
        fill(maml, 1)
        store.save(5)
        fill(maml, 2)
        with monkeypatch.context() as patch:
            done = operations(patch, until)
            try:
                store.save(5)
            except Killed:
                assert len(done) == until
            else:
                break
        if available(store.folder):
            assert store.restore() == 5
    else:
        pytest.fail("there were more operations than tried")


def test_checkpoint_that_cannot_be_written(saved, maml):
    store, folder, _ = saved
    (folder / "saving").write_text("in the way")
    before = snapshot(folder)
    with pytest.raises(UserError, match=r"model15 cannot be written \(.*\)") as error:
        store.save(15)
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before
    below_a_file = Checkpoints(folder / "model10.index" / "run", maml, EXPERIMENT)
    with pytest.raises(UserError, match=r"model15 cannot be written"):
        below_a_file.save(15)


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


def test_nothing_is_put_aside_where_there_is_no_checkpoint(tmp_path):
    (tmp_path / "data.txt").write_text("mine")
    assert checkpoints.put_aside(tmp_path) is None
    assert checkpoints.put_aside(tmp_path / "not there") is None
    assert (tmp_path / "data.txt").read_text() == "mine"
