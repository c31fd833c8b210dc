"""Tests that damaged checkpoints are refused, and that a kill at any moment leaves no damaged checkpoint."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs.stores import EXPERIMENT, assert_numbers, everything, fill


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
        assert store.restore() == 5  # without its index, model10 is not a checkpoint
        return
    with pytest.raises(UserError, match=r"model10 is damaged") as error:
        store.restore()
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before
    there = [
        f"{folder / name}" for name in ("model10.index", "model10.data-00000-of-00001") if (folder / name).exists()
    ]
    assert str(error.value).endswith(f": if it is damaged, remove {' and '.join(there)} to resume from model5")
    for name in there:
        Path(name).unlink()
    assert store.restore() == 5


def test_no_checkpoint_is_to_be_removed_where_there_is_no_other_or_it_is_not_the_latest(saved):
    store, folder, _ = saved
    for iteration in (5, 10):
        (folder / f"model{iteration}.index").write_bytes(b"")
    with pytest.raises(UserError, match=r"model5 is damaged, or not a checkpoint of this project$"):
        store.restore(5)
    for file in folder.glob("model5.*"):
        file.unlink()
    with pytest.raises(UserError, match=r"model10 is damaged, or not a checkpoint of this project$"):
        store.restore()


def test_no_flipped_bit_goes_unnoticed(saved, tiny_maml):
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
    assert_numbers(everything(tiny_maml), numbers)


class Killed(BaseException):
    """Stands in for a kill: nothing in the code may catch it."""


def operations(monkeypatch, until=None):
    """Returns a list that records the file operations of `save`; operation number `until` raises Killed instead."""
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


def test_a_kill_between_any_two_operations_leaves_whole_checkpoints_only(tiny_maml, tmp_path, monkeypatch):
    def begin(folder):
        store = build.store(folder, tiny_maml, EXPERIMENT, keep=2)
        fill(tiny_maml, 1)
        store.save(5)
        store.save(10)
        fill(tiny_maml, 2)
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
        store.save(20)  # the files that the kill left do no harm
        assert available(folder)[-1] == 20
        assert not (folder / "saving").exists()


def test_writing_over_a_checkpoint_never_leaves_a_mixture(tiny_maml, tmp_path, monkeypatch):
    for until in range(10):
        store = build.store(tmp_path / str(until), tiny_maml, EXPERIMENT)
        fill(tiny_maml, 1)
        store.save(5)
        fill(tiny_maml, 2)
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


def raising(error):
    def call(*arguments):
        raise error

    return call


def test_checkpoint_that_cannot_be_written(saved, tiny_maml, monkeypatch):
    store, folder, _ = saved
    (folder / "saving").write_text("in the way")
    before = snapshot(folder)
    with pytest.raises(UserError, match=r"model15 cannot be written \(.*\)") as error:
        store.save(15)
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before
    (folder / "saving").unlink()
    full = tf.errors.ResourceExhaustedError(
        None,
        None,
        "{{function_node __wrapped__SaveV2_dtypes_6_device_/job:localhost}} x; No space left on device [Op:SaveV2]",
    )
    monkeypatch.setattr(tf.train.Checkpoint, "write", raising(full))
    with pytest.raises(UserError, match=r"model15 cannot be written \(x; No space left on device\)$"):
        store.save(15)
    assert snapshot(folder) == {name: content for name, content in before.items() if name.name != "saving"}
    below_a_file = build.store(folder / "model10.index" / "run", tiny_maml, EXPERIMENT)
    with pytest.raises(UserError, match=r"model15 cannot be written"):
        below_a_file.save(15)
