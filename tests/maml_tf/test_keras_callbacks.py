"""Tests that Keras's callbacks, `.keras` files and tuners work with a MAMLModel as with any model."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import losses
from maml_tf.keras_model import MAMLModel
from tests.maml_tf import small_models
from tests.maml_tf.small_models import assert_same, learned, network, stream, tasks

model = functools.partial(small_models.model, task_axis="map", num_updates=1)  # quickest to trace


def fitted(made, epochs=3, first=0, **settings):
    """Fits with two steps an epoch, on the stream of tasks from `first` on; returns the model."""
    made.fit(stream(first), epochs=epochs, steps_per_epoch=2, verbose=0, **settings)
    return made


def test_best_checkpoint(tmp_path):
    path, values = tmp_path / "best.keras", []
    best = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: values.append(logs["val_loss"]))
    made = model(optimizer=keras.optimizers.SGD(1.0))  # the loss does not fall steadily
    fitted(made, 6, validation_data=tasks(9), callbacks=[best, keep])
    assert values[-1] != min(values)
    loaded = keras.saving.load_model(path)
    assert loaded.evaluate(tasks(9), return_dict=True, verbose=0)["loss"] == pytest.approx(min(values), rel=1e-6)


def test_early_stopping_restores_the_best_weights():
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    made = model(optimizer=keras.optimizers.SGD(1.0))
    fitted(made, 30, validation_data=tasks(9), callbacks=[stop])
    losses_of_epochs = made.history.history["val_loss"]
    assert len(losses_of_epochs) < 30
    now = made.evaluate(tasks(9), return_dict=True, verbose=0)["loss"]
    assert now == pytest.approx(min(losses_of_epochs), rel=1e-6)


def test_backup_after_an_exception_in_mid_epoch(tmp_path):
    def fail(batch, logs):
        if int(made.optimizer.iterations) == 3:
            raise RuntimeError("out of power")

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    made = model(network(dropout=0.3))
    with pytest.raises(RuntimeError, match="out of power"):
        fitted(made, callbacks=[backup, keras.callbacks.LambdaCallback(on_train_batch_end=fail)])
    resumed = model(network(dropout=0.3))
    # The first epoch of two steps was backed up; the second was interrupted after one.
    fitted(resumed, first=2, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert int(resumed.optimizer.iterations) == 6
    assert_same(resumed, fitted(model(network(dropout=0.3))))


def test_tensorboard(tmp_path):
    made = model(learn_step_size=False)
    callback = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1)
    fitted(made, 1, validation_data=tasks(9), callbacks=[callback])
    for part, prefix in (("train", ""), ("validation", "val_")):
        (file,) = (tmp_path / part).glob("events*")
        scalars = {
            value.tag: float(tf.make_ndarray(value.tensor))
            for event in tf.compat.v1.train.summary_iterator(str(file))
            for value in event.summary.value
            if value.tag.startswith("epoch_") and not value.tensor.tensor_shape.dim
        }
        for name in ("loss", "mae", "support_loss"):
            assert scalars[f"epoch_{name}"] == pytest.approx(made.history.history[prefix + name][0])
        assert ("epoch_loss_after_1" in scalars) == (part == "validation")


def test_learning_rate_scheduler():
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 if epoch == 0 else 0.0)
    fixed = functools.partial(model, learn_step_size=False)
    made, once = fixed(), fixed(optimizer=keras.optimizers.Adam(0.1, epsilon=1e-8))
    fitted(made, 3, callbacks=[rates])
    fitted(once, 1)
    for mine, its in zip(made.get_weights(), once.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


KINDS = {
    "learned step sizes": {"learn_step_size": "per_update", "inner_step_size": (0.01, 0.1), "num_updates": 2},
    "dropout": {"net": {"dropout": 0.3}},
    "Reptile": {"algorithm": "reptile", "learn_step_size": False, "inner_optimizer": "adam", "optimizer": None},
    "classes": {
        "net": {"outputs": 2},
        "loss": losses.SoftmaxCrossEntropy(2),
        "metrics": ["accuracy"],
        "adapts": "head",
    },
    "Keras's loss": {"loss": keras.losses.Huber(0.5), "optimizer": keras.optimizers.RMSprop(0.01)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_keras_file_trains_on_bit_for_bit(kind, tmp_path):
    settings = {"steps_per_execution": 2, "test_updates": 2, **KINDS[kind]}
    data = [tasks(i, ids=kind == "classes") for i in range(8)]
    made = model(network(**settings.pop("net", {})), **settings)
    made.fit(iter(data[:4]), steps_per_epoch=2, verbose=0)
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(made, loaded)
    assert loaded.steps_per_execution == 2
    assert loaded.metrics_names == made.metrics_names
    for each in (made, loaded):
        each.fit(iter(data[4:]), steps_per_epoch=2, verbose=0)
    assert_same(made, loaded)


def test_config():
    made = model(test_updates=5, num_updates=2, first_order=True)
    again = MAMLModel.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert (again.test_updates, again.num_updates, again.inner_step_size) == (5, 2, 0.05)
    assert not again.compiled
    again.compile_from_config(made.get_compile_config())
    assert again.maml.learner.first_order
    assert again.optimizer.epsilon == 1e-8


def test_weights_alone(tmp_path):
    made, other = fitted(model()), model()
    made.save_weights(tmp_path / "of.weights.h5")
    other.load_weights(tmp_path / "of.weights.h5")
    assert_same(made, other)
    assert len(learned(other)) > len(other.get_weights())


def test_a_function_of_ones_own_is_given_again(tmp_path):
    def own(y_true, y_pred):
        return keras.ops.abs(y_true - y_pred)

    made = fitted(model(loss=own, adapts=lambda v: v.name == "kernel"))
    made.save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"cannot hold <lambda>: give load_model\(path, custom_objects="):
        keras.saving.load_model(tmp_path / "model.keras")
    objects = {"own": own, "<lambda>": lambda v: v.name == "kernel"}
    assert_same(fitted(keras.saving.load_model(tmp_path / "model.keras", objects)), fitted(made))


@pytest.mark.slow
def test_tuner(tmp_path):
    import keras_tuner  # takes a second

    def build(choices):
        settings = {"num_updates": choices.Int("num_updates", 1, 2)}
        settings["inner_step_size"] = choices.Float("inner_step_size", 0.01, 0.1, sampling="log")
        return model(learn_step_size=False, **settings)

    tuner = keras_tuner.RandomSearch(build, "val_loss", max_trials=2, seed=0, directory=tmp_path, overwrite=True)
    tuner.search(tasks(0), validation_data=tasks(1), epochs=2, verbose=0)
    best = tuner.get_best_models()[0]
    assert best.num_updates == tuner.get_best_hyperparameters()[0]["num_updates"]
    loss = best.evaluate(tasks(1), return_dict=True, verbose=0)["loss"]
    assert loss == pytest.approx(min(trial.score for trial in tuner.oracle.trials.values()), rel=1e-5)
