import numpy as np
import pytest
import tensorflow as tf

from maml_tf.runs.log import summaries
from maml_tf.supervised import training
from maml_tf.supervised.evaluation import Evaluation
from maml_tf.supervised.training import Schedule, validation_scalars
from tests.maml_tf.small_runs import IMAGES, assert_same_numbers
from tests.maml_tf.supervised.trainings import END


def test_summaries_are_the_original_s(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 30)
    images.training(tmp_path, Schedule(summary=4, save=0, validate=6), log=True).run()
    found = scalars(tmp_path)
    names = ["Pre-update loss", "Pre-update accuracy"]
    names += [f"Post-update {kind}, step {i}" for kind in ("loss", "accuracy") for i in range(1, 6)]
    validation = [f"Validation accuracy, step {i}" for i in range(4)]
    assert {name for name, _ in found} == {*names, *validation}
    assert {step for name, step in found if name in names} == {0, 4}
    assert {step for name, step in found if name in validation} == {6}
    images.training(tmp_path / "again", Schedule(summary=4, save=0, validate=0), log=True).run()
    assert scalars(tmp_path / "again") == {key: value for key, value in found.items() if key[0] in names}
    images.training(tmp_path)  # back to the initial weights
    tasks = images.data.source.sample(0, "train", 0, IMAGES["meta_batch_size"])
    curves = images.maml.evaluate(tasks, 5)
    assert found["Pre-update loss", 0] == pytest.approx(curves["support_loss"].mean(), rel=1e-5)
    assert found["Post-update loss, step 1", 0] == pytest.approx(curves["losses"][:, 1].mean(), rel=1e-5)
    assert found["Post-update accuracy, step 5", 0] == pytest.approx(curves["accuracies"][:, 5].mean(), rel=1e-5)


def scalars(folder):
    """{(name, step): value} of all summaries in a folder."""
    found = {}
    for file in folder.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_no_summaries_without_log(images, tmp_path):
    images.training(tmp_path, Schedule(summary=1, save=0, validate=0), log=False, metatrain=1).run()
    assert list(tmp_path.glob("events.*")) == []


def test_training_goes_to_its_end_without_summaries_that_cannot_be_written(sinusoids, tmp_path, capsys, monkeypatch):
    sinusoids.training(tmp_path / "straight").run()

    def full_disk(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "{{function_node x}} a.v2; No space left on device [Op:x]")

    monkeypatch.setattr(tf.summary, "scalar", full_disk)
    folder = tmp_path / "run"
    sinusoids.training(folder, Schedule(summary=1, save=0, validate=0), log=True).run()
    assert capsys.readouterr().err.strip() == (
        f"warning: cannot write TensorBoard's summaries in {folder} (a.v2; No space left on device): "
        "training continues without it, and what would be written there from now on is lost"
    )
    assert_same_numbers(folder / f"model{END}", tmp_path / "straight" / f"model{END}")


def test_event_file_that_cannot_be_made_is_a_warning(tmp_path, capsys):
    (tmp_path / "file").touch()
    with summaries(tmp_path / "file") as write:
        for iteration in range(3):
            write({"loss": 1.0}, iteration)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"warning: cannot write TensorBoard's summaries in {tmp_path / 'file'} (")


def test_bugs_keep_their_traceback(tmp_path):
    with pytest.raises(ValueError, match="could not convert"), summaries(tmp_path) as write:
        write({"loss": "much"}, 1)


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    with summaries(tmp_path) as write:
        write({"a": np.nan, "b": np.inf, "c": 1e300, "d": np.float64(2)}, 1)
        write({"a": np.nan}, 2)
        write({"a": 3}, 3)
    assert scalars(tmp_path) == {("d", 1): 2, ("a", 3): 3}


def test_validation_has_numbers_that_are_finite_where_tasks_diverge(tmp_path):
    query = np.tile([[2.0, 1.0]], [600, 1])
    assert validation_scalars(Evaluation("loss", query[:, 0], query)) == {
        "Validation loss, step 0": 2,
        "Validation loss, step 1": 1,
    }
    query[0, 1] = np.nan
    with summaries(tmp_path) as write:
        write(validation_scalars(Evaluation("loss", query[:, 0], query)), 7)
    assert scalars(tmp_path) == {
        ("Validation loss, step 0", 7): 2,
        ("Validation diverged tasks, step 1", 7): 1,
        ("Validation median loss, step 1", 7): 1,
        ("Validation loss without diverged tasks, step 1", 7): 1,
    }
